"""L2 regularisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, hookimpl
from gankit_plugins.penalty.weight_matrices import weights_to_regularize

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run


def l2(weights: Sequence[Tensor]) -> Tensor:
    """1/2 the sum of w^2 over all weights, a scalar, from tensors of any shapes (Krogh 1991, equation 2)."""
    return torch.stack(torch._foreach_norm(list(weights), 2)).square().sum() / 2


class L2Regularization(Plugin):
    """Adds half the sum of the weights' squares to a player's loss.

    Source: Krogh 1991 (A Simple Weight Decay Can Improve Generalization), equation 2. With plain gradient descent
    it is weight decay; with Adam it is not (Loshchilov 2017): `adamw` decays apart from the gradient. Weights are
    what has more than one dimension; biases and the scales of norms are left alone.

    When to use: few images, where D's weights would grow to learn them by heart.
    When not: under a normalisation, where the size of a weight has no meaning.
    """

    name = "l2_regularization"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(1e-4, gt=0, description="of the sum in the player's loss")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="whose weights are regularised"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for player in self.config.players:
            if recipe.use_of(f"optimizer.{player}") == "adamw":
                yield f"adamw lets the {player}'s weights decay already, apart from the gradient; drop one of the two"

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            weights = weights_to_regularize(run, player, self.name)
            yield LossTerm("l2_regularization", lambda step: l2(weights), weight=self.config.weight)
