"""Modulated convolution: its equations, upsampling, and noise."""

import math

import pytest
import torch
import torch.nn.functional as F

from gankit_plugins.layers.modulated import EPS, ModulatedConv2d, Noise, demodulation
from gankit_plugins.layers.resampling import low_pass_kernel, upsample


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def layer_of(*arguments, **options):
    torch.manual_seed(0)
    layer = ModulatedConv2d(*arguments, **options).double()
    with torch.no_grad():
        layer.affine.bias += 0.3 * noise(*layer.affine.bias.shape)
    return layer


def weights_of_each_image(layer, w):
    """Return w''_ijk of each image by loops (Karras 2019, equations 1 and 3), (B, outputs, inputs, kernel, kernel)."""
    styles = w @ layer.affine.weight.T / math.sqrt(w.shape[1]) + layer.affine.bias
    outputs, inputs, kernel, _ = layer.weight.shape
    weight = layer.weight / math.sqrt(inputs * kernel**2)
    images = []
    for s in styles:
        modulated = torch.stack([s[i] * weight[:, i] for i in range(inputs)], dim=1)
        if layer.demodulate:
            norms = [(modulated[j].square().sum() + EPS).sqrt() for j in range(outputs)]
            modulated = torch.stack([modulated[j] / norms[j] for j in range(outputs)])
        images.append(modulated)
    return torch.stack(images)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_layer_is_a_convolution_with_other_weights_for_each_image(kernel, demodulate):
    layer = layer_of(4, 5, kernel, 6, demodulate=demodulate)
    x, w = noise(3, 4, 7, 5), noise(3, 6)
    weights = weights_of_each_image(layer, w)
    expected = torch.cat([F.conv2d(x[i : i + 1], weights[i], padding=kernel // 2) for i in range(3)])
    torch.testing.assert_close(layer(x, w), expected)
    # The same as one grouped convolution.
    grouped = F.conv2d(x.flatten(0, 1)[None], weights.flatten(0, 1), padding=kernel // 2, groups=3)
    torch.testing.assert_close(layer(x, w), grouped.unflatten(1, (3, 5))[0])


def test_upsampling_is_a_filtered_upsampling_before_the_convolution():
    layer = layer_of(4, 5, 3, 6, up=True)
    x, w = noise(3, 4, 7, 5), noise(3, 6)
    wide = upsample(x, low_pass_kernel().double())
    # A transposed convolution has the kernel of a convolution, rotated by 180 degrees.
    weights = weights_of_each_image(layer, w).flip(3, 4)
    expected = torch.cat([F.conv2d(wide[i : i + 1], weights[i], padding=1) for i in range(3)])
    actual = layer(x, w)
    assert actual.shape == (3, 5, 14, 10)
    torch.testing.assert_close(actual[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2])


def test_outputs_have_the_variance_1_for_inputs_of_the_variance_1():
    """This is the assumption behind equation 2."""
    layer = layer_of(3, 2, 3, 6)
    w = 3 * noise(1, 6)
    y = layer(noise(1, 3, 400, 400), w)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(2, dtype=torch.float64), rtol=0.02, atol=0)


def test_factors_are_those_of_the_equation():
    weight, styles = noise(3, 4, 3, 3), noise(2, 4)
    squares = [
        [sum((styles[b, i] * weight[j, i]).square().sum() for i in range(4)) for j in range(3)] for b in range(2)
    ]
    torch.testing.assert_close(demodulation(weight, styles), (torch.tensor(squares) + EPS).rsqrt().double())
    assert demodulation(torch.zeros(1, 1, 3, 3), torch.ones(1, 1)).isfinite().all()


def test_styles_begin_at_1():
    layer = ModulatedConv2d(4, 5, 3, 6)
    assert torch.equal(layer.affine(torch.zeros(2, 6)), torch.ones(2, 4))


@pytest.mark.parametrize("up", [True, False])
def test_second_derivatives_by_finite_differences(up):
    layer = layer_of(2, 2, 3, 2, up=up)
    assert torch.autograd.gradgradcheck(layer, (noise(2, 2, 2, 3).requires_grad_(), noise(2, 2).requires_grad_()))


@pytest.mark.parametrize("up", [True, False])
def test_memory_format_and_bf16(up):
    layer = ModulatedConv2d(4, 4, 3, 6, up=up)
    x, w = torch.randn(2, 4, 8, 8), torch.randn(2, 6)
    expected = layer(x, w)
    layer.to(memory_format=torch.channels_last)
    actual = layer(x.to(memory_format=torch.channels_last), w)
    torch.testing.assert_close(actual, expected)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x, w)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_equal_in_all_channels_and_begins_at_0(channels):
    layer, x = Noise(channels), torch.randn(2, 3, 4, 5)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.strength.copy_(torch.arange(1.0, channels + 1))
    share = (layer(x) - x) / layer.strength[:, None, None]
    torch.testing.assert_close(share, share[:, :1].expand_as(share))
    assert (share[0] - share[1]).abs().max() > 0.1
    pixels = layer(torch.zeros(1, 3, 200, 200))[0].flatten(1).detach()
    torch.testing.assert_close(pixels.std(1), layer.strength.detach().expand(3), rtol=0.02, atol=0)
