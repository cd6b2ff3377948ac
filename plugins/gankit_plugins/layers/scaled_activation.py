"""Biases, leaky ReLU and a constant gain, as in StyleGAN's networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SLOPE = 0.2
"""Negative slope (Karras 2017, appendix A.1)."""

GAIN = math.sqrt(2)
"""Factor of He's initial standard deviation, for layers with leaky ReLU, which about halves the mean square."""


class ScaledActivation(nn.Module):
    """Layer y = sqrt(2) leaky_relu(x + b) with a trained bias for each channel, which begins at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        # A module, so that tricks such as dropout find it.
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps with the shape and the data type of x, (B, C, H, W)."""
        return GAIN * self.activation(x + self.bias.to(x.dtype)[:, None, None])
