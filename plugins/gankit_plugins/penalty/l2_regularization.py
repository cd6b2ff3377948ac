"""L2 regularisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, RecipeInfo, Run, Scheduled, Settings, Step, hookimpl
from gankit_plugins.layers.weights import BOTH, Players
from gankit_plugins.penalty.weight_matrices import ParameterPenalty


def l2(weights: Sequence[Tensor]) -> Tensor:
    """Return half the sum of w^2 over all weights, as a scalar (Krogh 1991, equation 2)."""
    return torch.stack(torch._foreach_norm(list(weights), 2)).square().sum() / 2


class L2Regularization(ParameterPenalty):
    """Penalty equal to half the sum of the squares of a player's weights.

    Source: Krogh 1991 (A Simple Weight Decay Can Improve Generalization), equation 2. With plain gradient descent, the
    penalty is equivalent to weight decay. With Adam, the two differ (Loshchilov 2017). For weight decay with Adam, use
    the optimiser `adamw`. The penalty applies only to parameters with two or more dimensions. Biases and the scales of
    normalisation layers are excluded.

    When to use: with few images, because D would otherwise memorise the images, and its weights would grow.
    When not: with a normalisation after each layer, because normalisation cancels the scale of the weights.
    """

    name = "l2_regularization"

    class Config(Settings):
        weight: Scheduled = Field(1e-4, gt=0, description="weight of the sum in the player's loss")
        players: Players = Field(BOTH, description="players whose weights are regularised")

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for player in self.config.players:
            if recipe.use_of(f"optimizer.{player}") == "adamw":
                yield f"adamw already decays the {player}'s weights; remove one of the two"

    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        weights = self.weights(player, run)
        return lambda step: l2(weights)
