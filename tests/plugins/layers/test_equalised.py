"""Layers with an equalised learning rate: their equations, initial weights and steps of Adam."""

import pytest
import torch
import torch.nn.functional as F

from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear


def test_linear_is_its_equation():
    layer = EqualisedLinear(9, 5, gain=2.0, rate=0.1, bias=3.0).double()
    x = torch.randn(4, 9, dtype=torch.float64)
    with torch.no_grad():
        layer.bias += torch.arange(5.0)
    expected = 0.1 * 2 / 3 * x @ layer.weight.T + 3 + 0.1 * torch.arange(5)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_is_its_equation(kernel):
    layer = EqualisedConv2d(4, 5, kernel, gain=3.0).double()
    with torch.no_grad():
        layer.bias += torch.arange(5.0)
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    expected = F.conv2d(x, 3 / (2 * kernel) * layer.weight, torch.arange(5.0).double(), padding=kernel // 2)
    torch.testing.assert_close(layer(x), expected)


def test_padding_and_bias_of_a_convolution():
    layer = EqualisedConv2d(2, 3, 4, bias=False, padding=0)
    assert layer.bias is None
    assert layer(torch.randn(1, 2, 4, 4)).shape == (1, 3, 1, 1)


def test_linear_layer_without_biases():
    layer = EqualisedLinear(2, 3, bias=None)
    assert layer.bias is None
    assert not layer(torch.zeros(1, 2)).any()


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_initial_weights_and_outputs(rate):
    torch.manual_seed(0)
    layer = EqualisedLinear(400, 300, gain=2**0.5, rate=rate)
    assert layer.weight.detach().std() * rate == pytest.approx(1, abs=0.01)
    assert abs(layer.weight.detach().mean()) * rate < 0.01
    assert not layer.bias.any()
    assert layer(torch.randn(500, 400)).detach().std() == pytest.approx(2**0.5, rel=0.02)
    conv = EqualisedConv2d(64, 80, 3)
    assert conv.weight.detach().std() == pytest.approx(1, abs=0.01)
    assert not conv.bias.any()


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_step_of_adam_changes_weights_and_biases_at_the_rate(rate):
    layer = EqualisedLinear(16, 3, rate=rate)
    before = [layer(torch.eye(16)).detach(), layer(torch.zeros(1, 16)).detach()]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.eye(16)).sum().backward()
    optimizer.step()
    after = [layer(torch.eye(16)).detach(), layer(torch.zeros(1, 16)).detach()]
    torch.testing.assert_close(before[1] - after[1], torch.full((1, 3), 0.1 * rate))
    # The effective weight changes by rate * lr / sqrt(16), and the bias by rate * lr.
    torch.testing.assert_close(before[0] - after[0], torch.full((16, 3), 0.1 * rate * 1.25), rtol=1e-4, atol=1e-6)
