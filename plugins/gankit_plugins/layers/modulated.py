"""Convolution with weights that are modulated by a style and then demodulated (Karras 2019, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.resampling import WIDE, convolve_up, low_pass_kernel

EPS = 1e-8
"""Number added to the sum of squares in Karras 2019, equation 3. It prevents a division by 0 if all weights are 0."""


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Return the factors 1 / sqrt(sum_ik (s_i w_ijk)^2 + eps) of the output channels j (Karras 2019, equation 3).

    Args:
        weight: w, (outputs, inputs, kernel, kernel).
        styles: s, (B, inputs).

    Returns:
        The factors, (B, outputs).
    """
    return (styles.square() @ weight.square().sum((2, 3)).T + EPS).rsqrt()


class ModulatedConv2d(EqualisedConv2d):
    """Convolution without biases, whose weights are scaled for each image by a style and normalised to unit norm.

    The style s has one number for each input channel. It is an affine function of the style vector w, with biases that
    are initially 1. The layer multiplies x by s before the convolution (equation 1), and the output by the factors of
    equation 3. The result equals that of a grouped convolution with separate weights for each image.

    If `up` is true, the layer uses the function `convolve_up`, which also doubles height and width.

    Source: Karras 2019, section 2.2, equations 1 to 3.

    Args:
        before: number of input channels.
        after: number of output channels.
        kernel: side of the kernel, in pixels.
        w_size: length of the style vector w.
        up: True to double height and width; the kernel must be 3.
        demodulate: False to leave out equation 3, as in the layers that return the image.
    """

    kernel: Tensor

    def __init__(
        self, before: int, after: int, kernel: int, w_size: int, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__(before, after, kernel, bias=False)
        self.affine = EqualisedLinear(w_size, before, bias=1.0)
        self.up = up
        self.demodulate = demodulate
        self.register_buffer("kernel", low_pass_kernel(WIDE) if up else None, persistent=False)

    def forward(self, input: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
        """Apply the modulated convolution to x, (B, before, H, W), with style vectors w, (B, w_size).

        The result has the shape (B, after, H', W').
        """
        styles, weight = self.affine(w), self.scaled_weight()
        x = input * styles.to(input.dtype)[:, :, None, None]
        y = convolve_up(x, weight, self.kernel) if self.up else self._conv_forward(x, weight, None)
        if self.demodulate:
            y = y * demodulation(weight, styles).to(y.dtype)[:, :, None, None]
        return y


class Noise(nn.Module):
    """Layer that adds noise to each pixel: a sample of N(0, 1) times a trained strength, which is initially 0.

    All channels of an image use the same samples.

    Args:
        channels: number of trained strengths, either 1 or the number of channels of x.

    Source: Karras 2018, section 2, with one strength for each channel; Karras 2019, appendix B, with one strength for
    all channels.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus noise, with the shape and the data type of x, (B, C, H, W)."""
        noise = torch.randn(x.shape[0], 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        return x + self.strength.to(x.dtype)[:, None, None] * noise
