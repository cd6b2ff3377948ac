"""Spectral norm of all weights, together with another normalisation."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from torch import nn

from gankit import Player, Plugin, RecipeInfo, Settings, hookimpl
from gankit_plugins.layers.spectral import normalize_weights
from gankit_plugins.layers.weights import Players

GENERATOR: list[Player] = ["generator"]


class SpectralWeights(Plugin):
    """Spectral norm of all layers of a player, in addition to another normalisation, such as conditional batch norm.

    Source: Zhang 2019 (SAGAN), section 4.1, for spectral norm in G together with conditional batch norm; Miyato 2018,
    equation 8 and algorithm 1. The computation is the same as in the normalisation `spectral_norm`. Spectral norm is
    applied to all convolutions, linear layers and embeddings with trained weights that exist when this trick is
    applied. Therefore, put this trick after tricks that add layers. Scales and shifts of batch norm are not changed.

    When to use: in a generator with batch norm or conditional batch norm, against unstable training.
    When not: for a player whose normalisation is already `spectral_norm`. The recipe is then rejected.
    """

    name = "spectral_weights"

    class Config(Settings):
        iterations: int = Field(1, ge=1, description="power iterations per forward pass in training")
        players: Players = Field(GENERATOR, description="players whose weights are normalised")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for player in self.config.players:
            if recipe.use_of(f"normalization.{player}") == "spectral_norm":
                raise ValueError(
                    f"normalization.{player} is spectral_norm, which divides the same weights already; remove {player} "
                    "from players, or remove spectral_weights"
                )
        return ()

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        return normalize_weights(network, self.config.iterations) if player in self.config.players else network
