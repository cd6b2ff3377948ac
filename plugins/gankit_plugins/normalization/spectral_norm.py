"""Spectral normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Player, Plugin, Run, Settings, hookimpl
from gankit_plugins.layers.spectral import has_weight, normalize_weight, normalize_weights


class SpectralNorm(Plugin):
    """Spectral norm: division of each layer's weight by its largest singular value.

    Source: Miyato 2018, equation 8 and algorithm 1. The division limits each layer's Lipschitz constant. Spectral norm
    applies to all trained convolutions, linear layers and embeddings of the player's network, including layers that
    other normalisations skip. Layers that tricks add are not normalised, except the layers of `projection` and
    `self_attention`. In additional networks, such as an encoder, only layers with the recipe's normalisation are
    normalised. In training, power iterations in each forward pass estimate the singular value. While the weights
    change, the estimate has a small error. If a player has one network per class, the weights of each class are divided
    by their largest singular value.

    When to use: in the discriminator, with `hinge` or cross entropy, to bound D's Lipschitz constant at almost no cost.
    When not: with weight clipping or a strong gradient penalty, which already bound D's Lipschitz constant.
    """

    name = "spectral_norm"
    kind = "normalization"

    class Config(Settings):
        iterations: int = Field(1, ge=1, description="power iterations per forward pass in training")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.wrapped = False

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        # `wrap_network` normalises the layers of the network, including layers that were built without a call to this
        # hook. Tricks call this hook later for the layers that they add to the network. Identity layers, which residual
        # blocks pass to this hook, have no weight.
        return normalize_weight(layer, self.config.iterations) if self.wrapped and has_weight(layer) else layer

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        self.wrapped = True
        return normalize_weights(network, self.config.iterations)
