"""Normalisation: equalised learning rate of any network."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gankit import Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import train_iterations
from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.equalised_weights import equalise, fan_in
from gankit_plugins.normalization.equalised_rate import EqualisedRate

LAYERS = [
    # Each layer with the number of inputs that one output depends on.
    (nn.Linear(300, 200), 300),
    (nn.Conv2d(60, 100, 3), 60 * 9),
    (nn.Conv2d(60, 100, 3, groups=2), 30 * 9),
    (nn.ConvTranspose2d(60, 100, 3), 60 * 9),
    (nn.ConvTranspose2d(60, 100, 4, stride=2, padding=1), 60 * 4),
    (nn.ConvTranspose2d(60, 100, 4, stride=(2, 1), groups=2), 30 * 8),
    (nn.Conv1d(60, 100, 5), 60 * 5),
]


@pytest.mark.parametrize(("layer", "inputs"), LAYERS, ids=str)
def test_weights_of_he_from_parameters_of_n_0_1(layer, inputs):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer)
    assert fan_in(layer) == inputs
    equalise(layer)
    parameter = layer.parametrizations.weight.original
    assert parameter.mean().item() == pytest.approx(0, abs=0.02)
    assert parameter.std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(layer.weight, math.sqrt(2 / inputs) * parameter)
    assert not layer.bias.any()


@pytest.mark.parametrize(("layer", "inputs"), LAYERS, ids=str)
def test_he_keeps_the_variance_through_relu(layer, inputs):
    """An input with mean square 1 gives outputs with variance 2 where no padding is, so mean square 1 after ReLU."""
    torch.manual_seed(0)
    layer = equalise(copy.deepcopy(layer))
    size = {nn.Linear: (500, 300), nn.Conv1d: (30, 60, 30)}
    y = layer(torch.randn(next((size[one] for one in size if isinstance(layer, one)), (8, 60, 16, 16))))
    inner = y[(..., *[slice(4, -4)] * (y.dim() - 2))]
    assert inner.relu().square().mean().item() == pytest.approx(1, rel=0.08)


def test_gradient_is_scaled():
    """The gradient of the parameter is c times that of the weight: Adam's step does not depend on c."""
    layer = equalise(nn.Linear(7, 3))
    x = torch.randn(5, 7)
    layer(x).sum().backward()
    expected = math.sqrt(2 / 7) * x.sum(0).expand(3, 7)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, expected)


def test_all_layers_once():
    own, added = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Embedding(3, 4)), nn.Conv2d(3, 2, 1)
    plugin = EqualisedRate(EqualisedRate.Config())
    assert plugin.normalization(layer=own[0]) is own[0]
    assert not is_parametrized(own[0])
    plugin.wrap_network(network=own)
    identity = nn.Identity()
    assert plugin.normalization(layer=identity) is identity
    assert plugin.normalization(layer=added) is added
    assert [is_parametrized(m) for m in (*own, added)] == [True, False, False, True]


def test_layers_with_an_equalised_rate_and_frozen_layers_are_unchanged():
    network = nn.Sequential(EqualisedLinear(4, 3), EqualisedConv2d(3, 2, 3), nn.Linear(3, 3).requires_grad_(False))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    EqualisedRate(EqualisedRate.Config()).wrap_network(network=network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_weight_can_be_set():
    """Orthogonal initialisation, for example, sets the weight and not the parameter."""
    layer = equalise(nn.Linear(4, 4))
    layer.weight = nn.init.orthogonal_(torch.empty(4, 4))
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(4))


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_generator_file(start_run, tmp_path, base):
    run = start_run({"normalization": {"generator": {"use": "equalised_rate"}}}, base)
    train_iterations(run, 2)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors")
    assert torch.equal(Sampler.of_run(run).sample(4, seed=1)[0], loaded.sample(4, seed=1)[0])


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_with_dcgan(start_run, player):
    network = {"use": "dcgan", "width": 4}
    change = {"generator": network, "discriminator": network, "normalization": {player: {"use": "equalised_rate"}}}
    run = train_iterations(start_run(change), 3)
    layers = [m for m in run.networks[player].modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert layers
    assert all(map(is_parametrized, layers))
