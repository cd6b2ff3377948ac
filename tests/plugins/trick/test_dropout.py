"""Trick: dropout."""

import copy

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit_plugins.trick.dropout import Dropout, drop


class Generator(nn.Module):
    """Three activations, one of them nested and one with parameters, then tanh."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(5, 8 * 16), nn.LeakyReLU(0.02))
        self.maps = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sequential(nn.Conv2d(8, 8, 1), nn.PReLU(8)))
        self.late = nn.Sequential(nn.LeakyReLU(0.02, inplace=True), nn.Conv2d(8, 3, 1), nn.Tanh())
        self.seen = []

    def forward(self, z, labels=None):
        hidden = self.dense(z)
        maps = self.maps(hidden.reshape(-1, 8, 4, 4))
        late = self.late[0](maps.clone())
        self.seen = [hidden, maps, late]
        return self.late[2](self.late[1](late))


def wrapped(network=None, player="generator", **settings):
    network = Generator() if network is None else network
    return Dropout(Dropout.Config(**settings)).wrap_network(player, network)


def shares_dropped(network, count=64):
    """Return the share of zeros after each activation."""
    torch.manual_seed(0)
    network(torch.randn(count, 5))
    hidden, maps, late = network.seen
    return [(hidden == 0).float().mean().item(), (maps == 0).float().mean().item(), (late == 0).float().mean().item()]


def test_whole_channels_of_feature_maps_are_dropped_and_the_rest_scaled():
    torch.manual_seed(0)
    x = torch.rand(50, 40, 3, 3) + 0.5
    factor = drop(x, 0.3, training=True) / x
    assert torch.equal(factor.amin(dim=(2, 3)) == 0, factor.amax(dim=(2, 3)) == 0)
    share = (factor[:, :, 0, 0] == 0).float().mean().item()
    assert share == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 2000) ** 0.5)
    torch.testing.assert_close(factor[factor != 0], torch.full_like(factor[factor != 0], 1 / 0.7))


def test_single_units_of_vectors_are_dropped_and_the_rest_scaled():
    torch.manual_seed(0)
    x = torch.rand(50, 400) + 0.5
    factor = drop(x, 0.3, training=True) / x
    share = (factor == 0).float().mean().item()
    assert share == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 20_000) ** 0.5)
    torch.testing.assert_close(factor[factor != 0], torch.full_like(factor[factor != 0], 1 / 0.7))


def test_all_activations_but_the_last_tanh_have_dropout():
    network = wrapped(p=0.5)
    dense, maps, late = shares_dropped(network)
    assert dense == pytest.approx(0.5, abs=0.06)
    assert maps == pytest.approx(0.5, abs=0.12)
    assert late == pytest.approx(0.75, abs=0.12)  # channels dropped after `maps` are still 0
    network(torch.randn(64, 5))
    assert len(network.late[2]._forward_hooks) == 0


@pytest.mark.parametrize("layer", [0, 1])
def test_only_the_configured_layers_have_dropout(layer):
    shares = shares_dropped(wrapped(p=0.5, layers=[layer]))
    assert shares[layer] > 0.3
    assert shares[1 - layer] == 0.0


def test_layer_named_twice_is_dropped_once():
    assert shares_dropped(wrapped(p=0.5, layers=[0, 0]))[0] == pytest.approx(0.5, abs=0.06)


def test_evaluation_is_without_dropout():
    plain = Generator().eval()
    network = wrapped(copy.deepcopy(plain), p=0.9).eval()
    z = torch.randn(4, 5)
    assert torch.equal(network(z), plain(z))


def test_copy_drops_too():
    assert shares_dropped(copy.deepcopy(wrapped(p=0.5, layers=[0])))[0] > 0.3


def test_names_of_parameters_stay():
    assert list(wrapped(p=0.5).state_dict()) == list(Generator().state_dict())


def test_discriminator_does_not_change():
    network = Generator()
    assert wrapped(network, player="discriminator", p=0.5) is network
    assert shares_dropped(network)[:2] == [0.0, 0.0]


def test_unknown_layer_is_refused():
    with pytest.raises(
        InputError, match=r"dropout: layers = \[0, 3\]: Generator has 3 activations, numbered from 0 to 2"
    ):
        wrapped(layers=[0, 3])


def test_network_without_activation_modules_is_refused():
    with pytest.raises(InputError, match="Sequential has no activation modules"):
        wrapped(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
