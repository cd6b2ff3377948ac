"""Upsampling and downsampling of feature maps by 2 with a low-pass filter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINOMIAL = (1.0, 2.0, 1.0)
"""Taps of the filter along each axis, before they are divided by their sum (Karras 2018, appendix C)."""

WIDE = (1.0, 3.0, 3.0, 1.0)
"""Taps of `BINOMIAL` after doubling each pixel, or before the mean of two pixels."""


def low_pass_kernel(taps: tuple[float, ...] = BINOMIAL) -> Tensor:
    """Return the separable filter with n taps as a kernel (1, 1, n, n) with the sum 1."""
    row = torch.tensor(taps) / sum(taps)
    return torch.outer(row, row)[None, None]


def blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Return each channel of x, (B, C, H, W), filtered with a kernel (1, 1, n, n).

    There are `padding` zeros on each side, so H' = H + 2 padding - n + 1, and W' likewise.
    """
    each = kernel.to(x.dtype).expand(x.shape[1], 1, *kernel.shape[2:])
    return F.conv2d(x, each, padding=padding, groups=x.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, C, 2 H, 2 W): each pixel of x, (B, C, H, W), doubled, and filtered with a 3x3 kernel.

    Pixels beyond the border are 0.

    Source: Karras 2018, section 2 and appendix C (bilinear sampling).
    """
    return blur(F.interpolate(x, scale_factor=2.0, mode="nearest"), kernel, padding=1)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, C, H / 2, W / 2), rounded down: x, (B, C, H, W), filtered, and means of 2x2 pixels.

    Pixels beyond the border are 0. The kernel is 3x3.

    Source: Karras 2018, section 2 and appendix C (bilinear sampling).
    """
    # A convolution with stride 2 does the same, but torch computes its gradient for each channel slowly in bf16.
    return F.avg_pool2d(blur(x, kernel, padding=1), 2)


def convolve_up(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, outputs, 2 H, 2 W): a transposed convolution with stride 2, and then the filter.

    Apart from the border, this is equal to `upsample` before a convolution, at a quarter of the cost.

    Args:
        x: feature maps (B, inputs, H, W).
        weight: weights of the convolution, (outputs, inputs, 3, 3).
        kernel: the filter `WIDE`, (1, 1, 4, 4).
    """
    # The convolution spreads each pixel over four, so the filter has the gain 4.
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 4 * kernel, padding=1)


class LowPass(nn.Module):
    """Base class of layers that use the filter. The kernel is a buffer that is not saved."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...] = BINOMIAL) -> None:
        super().__init__()
        self.register_buffer("kernel", low_pass_kernel(taps), persistent=False)


class FilteredUpsample(LowPass):
    """Layer that doubles the height and width of feature maps with the low-pass filter (function `upsample`)."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.kernel)


class FilteredDownsample(LowPass):
    """Layer that halves height and width of feature maps by `downsample`, rounding down."""

    def forward(self, x: Tensor) -> Tensor:
        return downsample(x, self.kernel)
