"""Residual blocks: sizes, their equations, gradients and initial weights."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gankit import InputError, Spec
from gankit_plugins.layers.residual import down_block, first_block, sizes_of, up_block


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolutions(block):
    """Return the convolutions of the residual branch, and that of the shortcut if it has one."""
    return [[m for m in part.modules() if isinstance(m, nn.Conv2d)] for part in (block.residual, block.shortcut)]


def naive_conv(x, layer):
    """Return a convolution of stride 1 as a sum over all shifts of the padded image."""
    kernel = layer.weight.shape[-1]
    H, W = x.shape[2:]
    padded = F.pad(x, [kernel // 2] * 4)
    y = sum(
        torch.einsum("bchw,oc->bohw", padded[:, :, i : i + H, j : j + W], layer.weight[:, :, i, j])
        for i in range(kernel)
        for j in range(kernel)
    )
    return y + layer.bias.view(1, -1, 1, 1)


def naive_repeat(x, height, width):
    """Return nearest-neighbour upsampling by a loop over the pixels."""
    y = x.new_empty(*x.shape[:2], height, width)
    for i in range(height):
        for j in range(width):
            y[:, :, i, j] = x[:, :, i * x.shape[2] // height, j * x.shape[3] // width]
    return y


def naive_pool(x):
    """Return means of 2x2 pixels by a loop. Windows at an odd border have fewer pixels."""
    height, width = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    rows = [
        torch.stack([x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for j in range(width)], dim=-1)
        for i in range(height)
    ]
    return torch.stack(rows, dim=2)


def batch_norm(x):
    """Return x normalised over the batch and the pixels. The scales of a new layer are 1, and the shifts are 0."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm2d(features))


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (8, 5), (7, 5)])
def test_up_block_is_its_equation(size):
    block = up_block(Spec(normalize=norms), 3, 2, size).double()
    (first, second), (shortcut,) = convolutions(block)
    x = noise(4, 3, 4, 3)
    # The paper's order: the shortcut is upsampled before its convolution.
    y = naive_conv(naive_repeat(batch_norm(x).relu(), *size), first)
    expected = naive_conv(batch_norm(y).relu(), second) + naive_conv(naive_repeat(x, *size), shortcut)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (5, 1)])
@pytest.mark.parametrize("halve", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_down_block_is_its_equation(size, halve, normalized, perturbed):
    spec = Spec(normalize=norms) if normalized else Spec()
    block = down_block(spec, 2, 3, halve).double()
    (first, second), (shortcut,) = convolutions(block)
    assert (first.out_channels, second.out_channels) == (2, 3)
    x = noise(4, 2, *size)
    norm, pool = batch_norm if normalized else (lambda x: x), naive_pool if halve else (lambda x: x)
    # The paper's order: the shortcut is pooled after its convolution.
    y = naive_conv(norm(naive_conv(norm(x).relu(), first)).relu(), second)
    torch.testing.assert_close(block(x), pool(y) + pool(naive_conv(x, shortcut)))


def test_block_that_changes_nothing_has_the_identity_as_shortcut():
    block = down_block(Spec(), 2, 2, halve=False)
    (_, second), shortcut = convolutions(block)
    assert shortcut == []
    nn.init.zeros_(second.weight)
    x = torch.randn(2, 2, 5, 5)
    assert torch.equal(block(x), x)


def test_first_block_has_neither_activation_nor_normalisation_at_the_image():
    block = first_block(2, 3).double()
    (first, second), (shortcut,) = convolutions(block)
    x = noise(4, 2, 6, 6)
    y = naive_conv(naive_conv(x, first).relu(), second)
    torch.testing.assert_close(block(x), naive_pool(y) + naive_pool(naive_conv(x, shortcut)))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30))
def test_down_halves_and_up_returns_to_every_size(height, width):
    half = (-(-height // 2), -(-width // 2))
    x = torch.zeros(1, 2, height, width)
    assert first_block(2, 2)(x).shape[2:] == half
    small = down_block(Spec(), 2, 2)(x)
    assert small.shape[2:] == half
    assert up_block(Spec(), 2, 3, (height, width))(small).shape == (1, 3, height, width)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    for block in (up_block(Spec(), 2, 1, (3, 4)), down_block(Spec(), 2, 1), first_block(2, 1)):
        assert torch.autograd.gradcheck(block.double(), noise(1, 2, 2, 3).requires_grad_())


def test_initial_weights_are_glorots():
    torch.manual_seed(0)
    residual, (shortcut,) = convolutions(down_block(Spec(), 24, 40))
    for layer, gain in (*((layer, 2**0.5) for layer in residual), (shortcut, 1)):
        outputs, inputs, kernel, _ = layer.weight.shape
        bound = gain * (6 / (kernel**2 * (inputs + outputs))) ** 0.5
        assert 0.97 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


@given(st.integers(4, 3000), st.integers(4, 3000), st.integers(2, 8))
def test_sizes_end_with_the_first_small_one(height, width, smallest):
    sizes = sizes_of(Spec(shape=(1, height, width)), "sngan", smallest)
    assert sizes[0] == (height, width)
    assert all(b == (-(-a[0] // 2), -(-a[1] // 2)) for a, b in pairwise(sizes))
    assert min(sizes[-1]) <= smallest
    assert all(min(size) > smallest for size in sizes[1:-1])


def test_small_images_are_refused():
    with pytest.raises(InputError, match="images are 3 pixels wide or high, and sngan needs 4 or more; use mlp"):
        sizes_of(Spec(shape=(1, 3, 9)), "sngan", 4)
