"""Mapping network: its equation, its condition, and the mean of w."""

import pytest
import torch

from gankit_plugins.layers.mapping import DECAY, MappingNetwork
from gankit_plugins.layers.pixel_norm import pixel_norm


def naive(x, network):
    for layer in network.layers:
        y = 0.01 * (2 / x.shape[1]) ** 0.5 * x @ layer.weight.T + 0.01 * layer.bias
        x = torch.where(y > 0, y, 0.2 * y)
    return x


def test_network_is_its_equation(perturbed):
    network = perturbed(MappingNetwork(5, 7, 3)).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    assert [layer.weight.shape for layer in network.layers] == [(7, 5), (7, 7), (7, 7)]
    torch.testing.assert_close(network(z, None), naive(x, network))


@pytest.mark.parametrize("form", ["labels", "vectors"])
def test_condition_is_embedded_and_appended(perturbed, form):
    network = perturbed(MappingNetwork(5, 7, 2, numbers=3)).double()
    z = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([2, 0, 1])
    numbers = torch.eye(3, dtype=torch.float64)[labels] if form == "labels" else torch.randn(3, 3).double()
    embedded = numbers @ network.embedding.weight.T / 3**0.5 + network.embedding.bias
    expected = naive(torch.cat([pixel_norm(z), pixel_norm(embedded)], 1), network)
    torch.testing.assert_close(network(z, labels if form == "labels" else numbers), expected)


def test_scale_of_w_does_not_depend_on_z():
    torch.manual_seed(0)
    network = MappingNetwork(64, 64, 8)
    z = torch.randn(8, 64)
    torch.testing.assert_close(network(z, None), network(100 * z, None))


def test_layer_keeps_the_mean_square_at_first():
    """The leaky ReLU multiplies the mean square 2 by (1 + 0.2^2) / 2."""
    torch.manual_seed(0)
    w = MappingNetwork(400, 400, 1)(torch.randn(1000, 400), None)
    assert w.square().mean().item() == pytest.approx(1.04, rel=0.02)


def test_mean_is_that_of_training_only():
    network = MappingNetwork(3, 2, 1)
    z = torch.randn(6, 3)
    w = network.eval()(z, None)
    assert not network.w_mean.any()
    network.train()
    for count in (1, 2, 3):
        network(z, None)
        torch.testing.assert_close(network.w_mean, (1 - DECAY**count) * w.mean(0))
    assert not network.w_mean.requires_grad


def test_mean_approaches_that_of_the_prior():
    torch.manual_seed(0)
    network = MappingNetwork(8, 4, 2)
    with torch.no_grad():
        for _ in range(2000):
            network(torch.randn(16, 8), None)
        expected = network.eval()(torch.randn(100_000, 8), None).mean(0)
    torch.testing.assert_close(network.w_mean, expected, rtol=0, atol=0.05)


def test_mean_of_low_precision_is_in_float32():
    network = MappingNetwork(3, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        w = network(torch.randn(33, 3), None)
    assert w.dtype == torch.bfloat16
    torch.testing.assert_close(network.w_mean, (1 - DECAY) * w.detach().float().mean(0), rtol=1e-4, atol=0)
