"""Trick: skip z."""

import copy

import pytest
import torch
from torch import nn

from gankit import InputError, Spec
from gankit_plugins.trick.skip_z import ActivationWithLatent, SkipZGenerator


@pytest.fixture
def run(start_run):
    return lambda **change: start_run({"tricks": {"skip_z": {}}} | change)


def joined(network):
    return [module for module in network.modules() if isinstance(module, ActivationWithLatent)]


def test_each_size_of_the_maps_has_one_part_of_z_and_all_of_z_is_used(run):
    """The igan generator at 8x8 has maps of 4x4 and 8x8."""
    places = joined(run().generator)
    assert len(places) == 2
    assert sorted((p.part.start, p.part.stop) for p in places) == [(0, 50), (50, 100)]


def test_addend_is_the_linear_function_of_its_part_of_z(run):
    G = run().generator.eval()
    place = joined(G)[0]
    seen = {}
    place.activation.register_forward_pre_hook(lambda module, given: seen.update(after=given[0]))
    place.register_forward_pre_hook(lambda module, given: seen.update(before=given[0]))
    z = torch.randn(3, 100)
    G(z, None)
    expected = seen["before"] + (z[:, place.part] @ place.from_z.weight.T)[:, :, None, None]
    torch.testing.assert_close(seen["after"], expected)


def test_with_weights_of_zero_it_is_the_generator_without(run, assembled):
    """Both have the same seed and so the same initial weights."""
    G = run().generator.eval()
    for place in joined(G):
        place.from_z.weight.data.zero_()
    plain = assembled({}).generator.eval()
    z = torch.randn(3, 100)
    torch.testing.assert_close(G(z, None), plain(z, None))


def test_gradients_reach_z_on_the_short_way(run):
    """Without the linear layers from z, gradients pass through the last level."""
    G = run().generator
    G.network.to_small.weight.data.zero_()
    G.network.to_large.weight.data.zero_()
    z = torch.randn(4, 100, requires_grad=True)
    G(z, None).sum().backward()
    assert z.grad.abs().sum() > 0


def test_copy_is_whole_and_apart(run):
    G = run().generator.eval()
    copied = copy.deepcopy(G)
    z = torch.randn(2, 100)
    assert torch.equal(copied(z, None), G(z, None))
    joined(copied)[0].from_z.weight.data.add_(1)
    assert not torch.equal(copied(z, None), G(z, None))


def test_every_hidden_layer_of_an_mlp_has_a_part(run):
    places = joined(run(generator={"use": "mlp", "hidden": [8, 6, 4]}).generator)
    assert [p.from_z.out_features for p in places] == [8, 6, 4]
    assert [p.part.stop - p.part.start for p in places] == [34, 33, 33]


def test_branch_for_each_class_is_refused(assembled):
    with pytest.raises(InputError, match=r"tricks\.skip_z: igan_vn has a branch for each class"):
        assembled({"tricks": {"skip_z": {}}}, "igan_vn")


class Reusing(nn.Module):
    """Generator with one activation for both layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.paint = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 1 * 2 * 2)
        self.activation = nn.ReLU()

    def forward(self, z, labels):
        hidden = self.activation(self.second(self.activation(self.first(z))))
        return self.paint(hidden).view(-1, 1, 2, 2)


def test_activation_used_twice_is_refused():
    with pytest.raises(InputError, match="Reusing uses its activation 'activation' several times"):
        SkipZGenerator(Reusing(), Spec(shape=(1, 2, 2), latent_size=4))


def test_too_small_z_is_refused(assembled):
    with pytest.raises(InputError, match=r"1 values cannot be split among the \d levels of the generator"):
        assembled({"latent": {"size": 1}, "tricks": {"skip_z": {}}})
