"""Skip-layer excitation: the equation by a naive loop, pooling, and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gankit_plugins.layers.skip_excitation import SkipLayerExcitation, pooled


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = SkipLayerExcitation(3, 5).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_equation_1_by_a_naive_loop(layer):
    """Means of 2x2 pixels, a 4x4 convolution, LeakyReLU 0.2, a 1x1 convolution and a sigmoid, number by number."""
    low, high = random(2, 3, 8, 8), random(2, 5, 6, 7)
    first, last = layer.factors[0], layer.factors[2]
    y = layer(low, high)
    for b in range(2):
        hidden = []
        for o in range(5):
            total = first.bias[o].item()
            for c in range(3):
                for i in range(4):
                    for j in range(4):
                        cell = low[b, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean().item()
                        total += first.weight[o, c, i, j].item() * cell
            hidden.append(total if total > 0 else 0.2 * total)
        for o in range(5):
            total = last.bias[o].item() + sum(last.weight[o, c, 0, 0].item() * hidden[c] for c in range(5))
            torch.testing.assert_close(y[b, o], high[b, o] / (1 + math.exp(-total)))


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (32, 16), (7, 9), (3, 5), (1, 13)])
def test_pooling_equals_torchs(size):
    x = random(2, 3, *size)
    torch.testing.assert_close(pooled(x), F.adaptive_avg_pool2d(x, 4))


def test_factors_are_equal_at_all_positions_and_between_0_and_1(layer):
    low, high = random(2, 3, 8, 8), random(2, 5, 16, 12)
    factors = layer(low, high) / high
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(factors))
    assert 0 < factors.min() < factors.max() < 1


def test_first_and_second_derivatives(layer):
    low, high = random(1, 3, 5, 4).requires_grad_(), random(1, 5, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (low, high))
    assert torch.autograd.gradgradcheck(layer, (low, high))


def test_output_has_the_type_of_the_large_map(layer):
    layer.float()
    low, high = random(1, 3, 8, 8).float(), random(1, 5, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(low, high).dtype == torch.bfloat16
        assert layer(low, high.float()).dtype == torch.float32
