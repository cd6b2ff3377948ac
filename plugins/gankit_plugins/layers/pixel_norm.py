"""Pixelwise normalisation of feature vectors (Karras 2017, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 1e-8
"""Number added to the mean square, so that a vector of zeros stays zero (Karras 2017, section 4.2)."""


def pixel_norm(x: Tensor) -> Tensor:
    """Return `a / sqrt(mean(a^2) + 1e-8)`, with the vector `a` of all channels at a pixel (Karras 2017, section 4.2).

    Args:
        x: feature maps (B, C, H, W), or vectors (B, C).

    Returns:
        Tensor with the shape and the data type of x. The computation uses float32 or a wider type.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * (wide.square().mean(1, keepdim=True) + EPS).rsqrt()).to(x.dtype)


class PixelNorm(nn.Module):
    """Layer that applies `pixel_norm`. It has no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return pixel_norm(x)
