"""Mapping network from z to the style vector w (Karras 2018, section 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit_plugins.layers.conditioning import numbers_of
from gankit_plugins.layers.equalised import EqualisedLinear
from gankit_plugins.layers.pixel_norm import pixel_norm
from gankit_plugins.layers.scaled_activation import GAIN, SLOPE

RATE = 0.01
"""Learning rate of the mapping network, as a multiple of that of the other layers (Karras 2018, appendix C)."""

DECAY = 0.995
"""Decay of the moving average of w, per batch. The papers do not state a value."""


class MappingNetwork(nn.Module):
    """Fully connected network that maps z and an optional condition to the style vector w.

    z is normalised to a mean square of 1. If `numbers` > 0, a linear layer embeds the condition, and the normalised
    embedding is appended to z (Karras 2020, appendix D). Classes are represented by one-hot vectors. In training mode,
    the network also updates a moving average of w.

    Source: Karras 2018, section 2 and appendix C: 8 layers of 512 units with leaky ReLU, and a learning rate of 0.01
    times that of the other layers.

    Args:
        latent_size: length of z.
        w_size: length of w, and number of units of each layer.
        layers: number of layers.
        numbers: N, length of the condition vectors or number of classes; 0 for a network without a condition.
    """

    w_mean: Tensor
    """Moving average of w, (w_size,)."""

    def __init__(self, latent_size: int, w_size: int, layers: int, numbers: int = 0) -> None:
        super().__init__()
        self.numbers = numbers
        self.embedding = EqualisedLinear(numbers, w_size) if numbers else None
        inputs = [latent_size + (w_size if numbers else 0), *[w_size] * (layers - 1)]
        self.layers = nn.ModuleList(EqualisedLinear(size, w_size, gain=GAIN, rate=RATE) for size in inputs)
        self.register_buffer("w_mean", torch.zeros(w_size))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Map z, (B, latent_size), and the condition to style vectors w, (B, w_size).

        The condition is labels (B,), vectors (B, N) or None.
        """
        x = pixel_norm(z)
        if self.embedding is not None:
            assert condition is not None, "a conditional generator needs a condition"
            embedded = self.embedding(numbers_of(condition, self.numbers).to(z.dtype))
            x = torch.cat([x, pixel_norm(embedded).to(x.dtype)], dim=1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        if self.training:
            self.w_mean.lerp_(x.detach().to(self.w_mean.dtype).mean(0), 1 - DECAY)
        return x
