"""Upsampling and downsampling of feature maps by 2 with a low-pass filter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINOMIAL = (1.0, 2.0, 1.0)
"""Taps of the low-pass filter along each axis, before normalisation to a sum of 1 (Karras 2018, appendix C)."""

WIDE = (1.0, 3.0, 3.0, 1.0)
"""Taps of a filter that combines `BINOMIAL` with nearest-neighbour upsampling by 2 or with 2x2 average pooling."""


def low_pass_kernel(taps: tuple[float, ...] = BINOMIAL) -> Tensor:
    """Return the separable filter with n taps as a kernel (1, 1, n, n), normalised to a sum of 1."""
    row = torch.tensor(taps) / sum(taps)
    return torch.outer(row, row)[None, None]


def blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Filter each channel of x, (B, C, H, W), with a kernel (1, 1, n, n). Return feature maps (B, C, H', W').

    With `padding` zeros on each side, `H' = H + 2 * padding - n + 1` and `W' = W + 2 * padding - n + 1`.
    """
    each = kernel.to(x.dtype).expand(x.shape[1], 1, *kernel.shape[2:])
    return F.conv2d(x, each, padding=padding, groups=x.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Upsample x, (B, C, H, W), by 2 (nearest neighbour), and then filter the result with a 3x3 kernel.

    Return feature maps (B, C, 2 H, 2 W). Pixels beyond the border are 0.

    Source: Karras 2018, section 2 and appendix C (bilinear sampling).
    """
    return blur(F.interpolate(x, scale_factor=2.0, mode="nearest"), kernel, padding=1)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter x, (B, C, H, W), with a 3x3 kernel, and then average blocks of 2x2 pixels.

    Return feature maps (B, C, H // 2, W // 2). Pixels beyond the border are 0.

    Source: Karras 2018, section 2 and appendix C (bilinear sampling).
    """
    # A depthwise convolution with stride 2 gives the same result, but PyTorch computes its gradient slowly in bfloat16.
    return F.avg_pool2d(blur(x, kernel, padding=1), 2)


def convolve_up(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Apply a transposed convolution with stride 2 to x, and then the low-pass filter.

    Return feature maps (B, outputs, 2 H, 2 W). Except at the border, the result equals that of `upsample` followed by a
    convolution, at a quarter of the cost.

    Args:
        x: feature maps (B, inputs, H, W).
        weight: weights of the convolution, (outputs, inputs, 3, 3).
        kernel: the filter `WIDE`, (1, 1, 4, 4).
    """
    # The transposed convolution spreads each input pixel over four output pixels, so the filter needs a gain of 4.
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 4 * kernel, padding=1)


class LowPass(nn.Module):
    """Base class of layers that apply a low-pass filter. The filter's kernel is a non-persistent buffer."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...] = BINOMIAL) -> None:
        super().__init__()
        self.register_buffer("kernel", low_pass_kernel(taps), persistent=False)


class FilteredUpsample(LowPass):
    """Layer that doubles the height and width of feature maps with the function `upsample`."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.kernel)


class FilteredDownsample(LowPass):
    """Layer that halves the height and width of feature maps with the function `downsample`, rounding down."""

    def forward(self, x: Tensor) -> Tensor:
        return downsample(x, self.kernel)
