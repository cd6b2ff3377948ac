"""Parts of PGGAN's networks (Karras 2017, table 2)."""

from __future__ import annotations

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.scaled_activation import GAIN, SLOPE


def activation() -> nn.LeakyReLU:
    """Return leaky ReLU (Karras 2017, appendix A.1)."""
    return nn.LeakyReLU(SLOPE)


def convolution(spec: Spec, player: Player, before: int, after: int, kernel: int = 3, padding: int = 1) -> nn.Module:
    """Return a convolution with leaky ReLU, followed by the recipe's normalisation.

    `spec.normalize` adds the normalisation after the layer that it takes. It takes an identity layer here, because
    leaky ReLU stands between the convolution and the normalisation.
    """
    layer = EqualisedConv2d(before, after, kernel, GAIN, padding=padding)
    return nn.Sequential(layer, activation(), spec.normalize(player, nn.Identity(), after))
