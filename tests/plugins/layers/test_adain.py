"""Adaptive instance normalisation."""

import torch
from torch import nn

from gankit_plugins.layers.adain import Adain, adain


def test_each_channel_gets_the_mean_and_the_deviation():
    x, scale, shift = torch.randn(2, 3, 5, 4).double(), torch.rand(2, 3).double() + 0.5, torch.randn(2, 3).double()
    y = adain(x, scale, shift)
    for i in range(2):
        for c in range(3):
            pixels = x[i, c]
            expected = scale[i, c] * (pixels - pixels.mean()) / pixels.std(correction=0) + shift[i, c]
            torch.testing.assert_close(y[i, c], expected)


def test_layer_begins_as_instance_norm():
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(Adain(3, 4)(x, torch.zeros(2, 4)), nn.InstanceNorm2d(3, eps=1e-8)(x))


def test_constant_channel_has_finite_gradients():
    x = torch.ones(1, 2, 4, 4, requires_grad=True)
    y = adain(x, torch.ones(1, 2), torch.zeros(1, 2))
    y.square().sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_style_depends_on_w(perturbed):
    layer, x = perturbed(Adain(3, 4)), torch.randn(2, 3, 6, 6)
    w = torch.randn(2, 4)
    scale, shift = (w @ layer.affine.weight.T / 2 + layer.affine.bias).chunk(2, 1)
    torch.testing.assert_close(layer(x, w).mean((2, 3)), shift)
    torch.testing.assert_close(layer(x, w).std((2, 3), correction=0), (1 + scale).abs())


def test_second_derivatives_by_finite_differences():
    inputs = [torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in ((1, 2, 2, 3), (1, 2), (1, 2))]
    assert torch.autograd.gradgradcheck(adain, inputs)


def test_low_precision_is_kept():
    x = torch.randn(1, 2, 4, 4)
    y = adain(x.bfloat16(), torch.ones(1, 2), torch.zeros(1, 2))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), adain(x, torch.ones(1, 2), torch.zeros(1, 2)), rtol=0.02, atol=0.02)
