"""Hidden layers of BiGAN's generator, encoder and discriminator for MNIST, which have the same structure."""

from __future__ import annotations

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.dcgan import initialized

SLOPE = 0.2
"""Negative slope of LeakyReLU in D and in the encoder E (Donahue 2017, appendix C)."""


def hidden_layers(spec: Spec, player: Player, inputs: int, units: int, activation: nn.Module) -> nn.Sequential:
    """Return two fully connected layers that map (B, inputs) to (B, units). The activation follows each layer.

    The recipe's normalisation for `player` applies to the second layer only (Donahue 2017, appendix C).
    """
    return nn.Sequential(
        initialized(nn.Linear(inputs, units)),
        activation,
        spec.normalize(player, initialized(nn.Linear(units, units)), units),
        activation,
    )
