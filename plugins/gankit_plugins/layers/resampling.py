"""Upsampling and downsampling of feature maps by 2 with a low-pass filter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTER = (1.0, 3.0, 3.0, 1.0)
"""Taps of the filter along each axis, before they are divided by their sum.

The filter (1, 2, 1) of Karras 2018, after doubling each pixel or before the mean of two pixels, has the same effect.
"""


def low_pass_kernel() -> Tensor:
    """Return the separable filter as a kernel (1, 1, 4, 4) with the sum 1."""
    taps = torch.tensor(FILTER) / sum(FILTER)
    return torch.outer(taps, taps)[None, None]


def blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Return each channel of x, (B, C, H, W), filtered with a kernel (1, 1, 4, 4).

    There are `padding` zeros on each side, so H' = H + 2 padding - 3, and W' likewise.
    """
    each = kernel.to(x.dtype).expand(x.shape[1], 1, *kernel.shape[2:])
    return F.conv2d(x, each, padding=padding, groups=x.shape[1])


def convolve_up(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, outputs, 2 H, 2 W): a transposed convolution with stride 2, and then the filter.

    Apart from the border, this is equal to `upsample` before a convolution, at a quarter of the cost.

    Args:
        x: feature maps (B, inputs, H, W).
        weight: weights of the convolution, (outputs, inputs, 3, 3).
        kernel: `low_pass_kernel()`, on the device of x.
    """
    # The convolution spreads each pixel over four, so the filter has the gain 4.
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 4 * kernel, padding=1)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, C, 2 H, 2 W): x, (B, C, H, W), with zeros between its pixels, filtered with the gain 4.

    Pixels beyond the border are 0. `kernel` is `low_pass_kernel()` on the device of x.

    Source: Karras 2018, section 2 (bilinear sampling); Karras 2019, figure 7.
    """
    each = (4 * kernel).to(x.dtype).expand(x.shape[1], 1, *kernel.shape[2:])
    return F.conv_transpose2d(x, each, stride=2, padding=1, groups=x.shape[1])


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Return feature maps (B, C, H / 2, W / 2), rounded down: x, (B, C, H, W), filtered, and every second pixel.

    Pixels beyond the border are 0. `kernel` is `low_pass_kernel()` on the device of x.

    Source: Karras 2018, section 2 (bilinear sampling); Karras 2019, figure 7.
    """
    each = kernel.to(x.dtype).expand(x.shape[1], 1, *kernel.shape[2:])
    return F.conv2d(x, each, stride=2, padding=1, groups=x.shape[1])


class LowPass(nn.Module):
    """Base class of layers that use the filter. The kernel is a buffer that is not saved."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", low_pass_kernel(), persistent=False)


class FilteredUpsample(LowPass):
    """Layer that doubles height and width of feature maps by `upsample`."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.kernel)


class FilteredDownsample(LowPass):
    """Layer that halves height and width of feature maps by `downsample`, rounding down."""

    def forward(self, x: Tensor) -> Tensor:
        return downsample(x, self.kernel)
