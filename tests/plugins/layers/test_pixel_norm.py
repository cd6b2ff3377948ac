"""Pixelwise normalisation of feature vectors."""

import pytest
import torch

from gankit_plugins.layers.pixel_norm import PixelNorm, pixel_norm


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3)])
def test_each_vector_gets_its_mean_square(shape):
    x = torch.randn(*shape, dtype=torch.float64)
    y = PixelNorm()(x)
    for b, *pixel in torch.cartesian_prod(*map(torch.arange, (shape[0], *shape[2:]))).view(-1, len(shape) - 1).tolist():
        place = (b, slice(None), *pixel)
        torch.testing.assert_close(y[place], x[place] / (x[place].pow(2).sum() / 3 + 1e-8) ** 0.5)


def test_zeros_stay_zeros_with_a_finite_gradient():
    x = torch.zeros(1, 3, requires_grad=True)
    y = pixel_norm(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_low_precision_is_kept_but_not_used():
    x = torch.full((1, 4), 300.0, dtype=torch.float16)  # The square is not a finite float16.
    assert torch.equal(pixel_norm(x), torch.ones(1, 4, dtype=torch.float16))


def test_gradients_by_finite_differences():
    assert torch.autograd.gradgradcheck(pixel_norm, torch.randn(2, 3, 2, 1, dtype=torch.float64).requires_grad_())
