"""Parts of PGGAN's networks (Karras 2017, table 2)."""

from __future__ import annotations

import math

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.equalised import EqualisedConv2d

GAIN = math.sqrt(2)
"""Factor of He's initial standard deviation, for layers with leaky ReLU. Layers without an activation have 1."""


def channels_of(levels: int, width: int, max_width: int) -> list[int]:
    """Return the number of channels of each level, at most `max_width`. The last level has `width`.

    Each level has twice as many as the next one. Source: Karras 2017, table 2: 16 and 512 for images of 1024x1024.
    """
    return [min(max_width, width << (levels - 1 - level)) for level in range(levels)]


def activation() -> nn.LeakyReLU:
    """Return leaky ReLU with the slope 0.2 (Karras 2017, appendix A.1)."""
    return nn.LeakyReLU(0.2)


def convolution(spec: Spec, player: Player, before: int, after: int, kernel: int = 3, padding: int = 1) -> nn.Module:
    """Return a convolution with leaky ReLU, followed by the recipe's normalisation.

    The normalisation applies to the output of leaky ReLU. So the layer that it gets is the identity.
    """
    layer = EqualisedConv2d(before, after, kernel, GAIN, padding=padding)
    return nn.Sequential(layer, activation(), spec.normalize(player, nn.Identity(), after))
