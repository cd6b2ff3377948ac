"""Trick: differentiable norms."""

import pytest
import torch
from torch import nn

from gankit_plugins.trick.differentiable_norms import DifferentiableNorms


def norms():
    """Return each norm in float64 with random weights, and an input for it."""
    torch.manual_seed(0)
    made = {
        "batch_2d": (nn.BatchNorm2d(3), (4, 3, 2, 5)),
        "batch_1d": (nn.BatchNorm1d(3, affine=False), (4, 3)),
        "instance": (nn.InstanceNorm2d(3, affine=True, eps=0.1), (2, 3, 2, 5)),
        "layer": (nn.LayerNorm(5), (3, 5)),
        "layer_2d": (nn.LayerNorm((3, 4), elementwise_affine=False), (2, 3, 4)),
        "layer_without_bias": (nn.LayerNorm(5, bias=False), (3, 2, 5)),
    }
    for norm, _ in made.values():
        norm.double()
        for p in norm.parameters():
            nn.init.normal_(p)
    return {name: (norm, torch.randn(*shape, dtype=torch.float64)) for name, (norm, shape) in made.items()}


@pytest.mark.parametrize("name", norms())
def test_norms_equal_those_of_torch(name):
    norm, x = norms()[name]
    expected = norm(x)
    with DifferentiableNorms():
        torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("name", norms())
def test_third_derivative_against_finite_differences(name):
    norm, x = norms()[name]
    along = [torch.randn_like(x) for _ in range(3)]

    def second(x):
        """Return a second derivative along two directions, and its input."""
        x = x.requires_grad_()
        with DifferentiableNorms():
            y = norm(x).tanh().square().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (result,) = torch.autograd.grad((first * along[0]).sum(), x, create_graph=True)
        return (result * along[1]).sum(), x

    value, at = second(x.clone())
    (third,) = torch.autograd.grad(value, at)
    h = 1e-5
    up, down = (second(x + s * h * along[2])[0].item() for s in (1, -1))
    assert (third * along[2]).sum().item() == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)])
def test_running_statistics_are_used_in_evaluation_mode(norm):
    x = torch.randn(4, 3, 2, 2)
    norm(x + 3)
    norm.eval()
    with DifferentiableNorms():
        assert torch.equal(norm(x), nn.functional.batch_norm(x, norm.running_mean, norm.running_var))


def test_half_precision_is_computed_in_float32_and_returned():
    norm, x = nn.BatchNorm1d(2), torch.randn(64, 2).bfloat16() + 100
    with DifferentiableNorms():
        y = norm(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, norm(x.float()).bfloat16())


def test_other_layers_do_not_change():
    layer, x = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.LeakyReLU()), torch.randn(2, 4, 5, 5)
    with DifferentiableNorms():
        y = layer(x)
    assert torch.equal(y, layer(x))
