"""Spectral norm of all weights beside another normalisation."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from torch import nn

from gankit import Player, Plugin, RecipeInfo, Settings, hookimpl
from gankit_plugins.layers.spectral import normalize_weights
from gankit_plugins.layers.weights import Players

GENERATOR: list[Player] = ["generator"]


class SpectralWeights(Plugin):
    """Spectral norm of all layers of a player, in addition to its normalisation, such as conditional batch norm.

    Source: Zhang 2019 (SAGAN), section 4.1: spectral norm in G too, together with conditional batch norm; Miyato 2018,
    equation 8 and algorithm 1. It is the same computation as in the normalisation `spectral_norm`. It applies to all
    trained convolutions, linear layers and embeddings that the network has when this trick is reached, so put it after
    tricks that add layers. Scales and shifts of batch norm are not changed.

    When to use: in a generator with batch norm or conditional batch norm, against unstable training.
    When not: for a player whose normalisation is `spectral_norm` already; the recipe is then rejected.
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
