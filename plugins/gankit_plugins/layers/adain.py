"""Adaptive instance normalisation: a style sets the mean and the standard deviation of each channel (Karras 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit_plugins.layers.equalised import EqualisedLinear

EPS = 1e-8
"""Number added to the variance. It prevents a division by 0 for a constant channel."""


def adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * (x - mean(x)) / std(x) + shift for each image and channel (Karras 2018, equation 1).

    Args:
        x: feature maps (B, C, H, W).
        scale: scales y_s, (B, C).
        shift: shifts y_b, (B, C).

    Returns:
        Feature maps with the shape and the data type of x. The computation uses float32 or a wider type.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
    y = (wide - mean) * (variance + EPS).rsqrt()
    return (scale[:, :, None, None] * y + shift[:, :, None, None]).to(x.dtype)


class Adain(nn.Module):
    """Layer that applies `adain`. Scale and shift are affine functions of the style vector w.

    The biases of the scale are initially 1, and the biases of the shift are initially 0.

    Source: Karras 2018, section 2, equation 1, and appendix C for the initial biases.
    """

    def __init__(self, channels: int, w_size: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(w_size, 2 * channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply `adain` to x, (B, C, H, W), with style vectors w, (B, w_size). The shape does not change."""
        scale, shift = self.affine(w).chunk(2, dim=1)
        return adain(x, 1 + scale, shift)
