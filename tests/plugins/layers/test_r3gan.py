"""R3GAN's layers: the block's equation, Fixup's initial weights, and bilinear resampling."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from gankit import Spec
from gankit_plugins.layers.r3gan import Architecture, Downsampling, fixup_scale, he, residual_block, upsampling


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def block_of(channels, depth=4, **config):
    return residual_block(Spec(), "generator", channels, Architecture(**config), depth)


def convolutions(block):
    return [m for m in block.modules() if isinstance(m, nn.Conv2d)]


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def naive_grouped(x, layer, groups):
    """Return a grouped 3x3 convolution as one convolution for each group."""
    parts = zip(x.chunk(groups, 1), layer.weight.chunk(groups), layer.bias.chunk(groups), strict=True)
    return torch.cat([F.conv2d(part, weight, bias, padding=1) for part, weight, bias in parts], 1)


def test_block_is_its_equation(perturbed):
    block = perturbed(block_of(6, group_size=4)).double()
    first, second, last = convolutions(block)
    assert [tuple(layer.weight.shape) for layer in (first, second, last)] == [
        (12, 6, 1, 1),
        (12, 4, 3, 3),
        (6, 12, 1, 1),
    ]
    assert last.bias is None
    x = noise(2, 6, 5, 4)
    y = torch.einsum("bchw,oc->bohw", x, first.weight[:, :, 0, 0]) + first.bias[:, None, None]
    y = leaky(naive_grouped(leaky(y), second, 3))
    torch.testing.assert_close(block(x), x + torch.einsum("bchw,oc->bohw", y, last.weight[:, :, 0, 0]))


def test_new_block_is_the_identity_and_learns():
    block = block_of(4)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    first, _, last = convolutions(block)
    assert last.weight.grad.abs().min() > 0
    assert not first.weight.grad.any()  # because the last layer is 0


@pytest.mark.parametrize(
    ("channels", "size", "groups"), [(768, 16, 96), (96, 16, 12), (3, 16, 3), (5, 16, 5), (4, 1, 8)]
)
def test_groups_have_equal_sizes(channels, size, groups):
    """96 groups at 768 channels and 12 at 96 have 16 channels each. Six channels have the common divisor 2 with 16."""
    with torch.device("meta"):
        assert convolutions(block_of(channels, group_size=size))[1].groups == groups


def test_initial_weights_are_hes_times_fixups_factor():
    torch.manual_seed(0)
    depth = 16
    first, second, last = convolutions(block_of(96, depth))
    for layer, inputs in ((first, 96), (second, 16 * 9)):
        expected = (2 / 1.04 / inputs) ** 0.5 / 2  # 16^(-1/4) is 1/2.
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert layer.weight.abs().max() > 3.5 * expected  # a normal distribution, not a uniform one
        assert not layer.bias.any()
    assert not last.weight.any()
    assert he(nn.Linear(300, 200, bias=False)).weight.std().item() == pytest.approx(300**-0.5, rel=0.02)


def test_fixups_factor_is_that_of_the_paper():
    """Zhang 2019: L^(-1 / (2m - 2)) is L^(-1/2) for branches of two layers, and L^(-1/4) for three."""
    assert fixup_scale(81, layers=2) == pytest.approx(1 / 9)
    assert fixup_scale(81, layers=3) == pytest.approx(1 / 3)
    assert fixup_scale(1, layers=3) == 1


def test_a_step_changes_the_output_equally_for_any_depth():
    """Train all branches of a stack by one step of gradient descent: the change does not grow with the depth.

    Without the factor it does. The last layers get weights of a first step, so that all layers learn.
    """

    def change(depth, scaled):
        torch.manual_seed(0)
        network = nn.Sequential(*(block_of(16, depth if scaled else 1, expansion=1) for _ in range(depth))).double()
        x, target = noise(8, 16, 4, 4), torch.ones(8, 16, 4, 4, dtype=torch.float64)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        outputs = [network(x)]
        for _ in range(3):
            optimizer.zero_grad()
            (outputs[-1] * target).sum(1).mean().backward()
            optimizer.step()
            outputs.append(network(x))
        return (outputs[-1] - outputs[0]).detach().norm().item()

    grown, plain = change(64, True) / change(4, True), change(64, False) / change(4, False)
    assert 0.5 < grown < 2
    assert plain > 3 * grown


def naive_down(x):
    """Return the filter (1, 3, 3, 1) / 8 in each direction with repeated borders, at every second position."""
    taps = torch.tensor([1, 3, 3, 1], dtype=x.dtype) / 8
    H, W = x.shape[2:]
    y = x.new_zeros(*x.shape[:2], -(-H // 2), -(-W // 2))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            for a in range(4):
                for b in range(4):
                    row, column = min(max(2 * i + a - 1, 0), H - 1), min(max(2 * j + b - 1, 0), W - 1)
                    y[:, :, i, j] += taps[a] * taps[b] * x[:, :, row, column]
    return y


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 2)])
def test_downsampling_is_its_filter(size):
    x = noise(2, 3, *size)
    torch.testing.assert_close(Downsampling(size).double()(x), naive_down(x))


def test_downsampling_inside_of_the_borders_is_that_of_torch():
    x = noise(2, 3, 8, 12)
    expected = F.interpolate(x, (4, 6), mode="bilinear", antialias=True)
    torch.testing.assert_close(Downsampling((8, 12)).double()(x)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_downsampling_has_the_filter_of_upsampling():
    """Inside of the borders, downsampling is a quarter of the transpose of upsampling."""
    small, large = noise(1, 1, 6, 6), noise(1, 1, 12, 12)
    small[..., [0, -1], :] = small[..., [0, -1]] = 0
    down, up = Downsampling((12, 12)).double()(large), upsampling((12, 12))(small)
    torch.testing.assert_close((down * small).sum(), (large * up).sum() / 4)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30))
def test_resampling_of_every_size_keeps_constants(height, width):
    small = Downsampling((height, width))(torch.full((1, 2, height, width), 3.0))
    assert small.shape[2:] == (math.ceil(height / 2), math.ceil(width / 2))
    large = upsampling((height, width))(small)
    assert large.shape == (1, 2, height, width)
    torch.testing.assert_close(large, torch.full_like(large, 3.0))


def test_first_and_second_derivatives_by_finite_differences(perturbed):
    torch.manual_seed(0)
    for layer in (perturbed(block_of(2, group_size=2)), upsampling((5, 4)), Downsampling((3, 2))):
        x = noise(1, 2, 3, 2).requires_grad_()
        assert torch.autograd.gradcheck(layer.double(), x)
        assert torch.autograd.gradgradcheck(layer, x)


def test_max_width_below_width_is_refused():
    with pytest.raises(ValidationError, match="max_width = 4 must not be below width = 8"):
        Architecture(width=8, max_width=4)
