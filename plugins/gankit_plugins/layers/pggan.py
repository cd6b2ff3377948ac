"""Parts of PGGAN's networks (Karras 2017, table 2)."""

from __future__ import annotations

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.scaled_activation import GAIN, SLOPE


def activation() -> nn.LeakyReLU:
    """Return a leaky ReLU with negative slope 0.2 (Karras 2017, appendix A.1)."""
    return nn.LeakyReLU(SLOPE)


def convolution(spec: Spec, player: Player, before: int, after: int, kernel: int = 3, padding: int = 1) -> nn.Module:
    """Return a convolution with leaky ReLU, followed by the recipe's normalisation.

    `spec.normalize` returns its argument, a layer, followed by the normalisation. Here the argument is an identity
    layer, because leaky ReLU comes between the convolution and the normalisation.
    """
    layer = EqualisedConv2d(before, after, kernel, GAIN, padding=padding)
    return nn.Sequential(layer, activation(), spec.normalize(player, nn.Identity(), after))
