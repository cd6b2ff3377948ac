"""Activation of StyleGAN's networks: a bias for each channel, leaky ReLU and a constant gain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SLOPE = 0.2
"""Negative slope of leaky ReLU (Karras 2017, appendix A.1)."""

GAIN = math.sqrt(2)
"""Gain of He's initialisation. It compensates for leaky ReLU, which approximately halves the mean square."""


class ScaledActivation(nn.Module):
    """Layer `y = sqrt(2) * leaky_relu(x + b)` with a trained bias b, initially 0, for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        # Use a module instead of a function, because tricks such as dropout search the network for activation modules.
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Add the biases to x, (B, C, H, W), and apply leaky ReLU and the gain. Shape and data type do not change."""
        return GAIN * self.activation(x + self.bias.to(x.dtype)[:, None, None])
