"""L1 regularisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, Run, Scheduled, Settings, Step
from gankit_plugins.layers.weights import BOTH, Players
from gankit_plugins.penalty.weight_matrices import ParameterPenalty


def l1(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of |w| over all weights, as a scalar (the penalty form of the lasso, Tibshirani 1996)."""
    return torch.stack(torch._foreach_norm(list(weights), 1)).sum()


class L1Regularization(ParameterPenalty):
    """Penalty on the sum of the absolute values of a player's weights.

    Source: Tibshirani 1996 (Regression Shrinkage and Selection via the Lasso). The penalty drives small weights to
    exactly 0. It applies only to parameters with two or more dimensions. Biases and the scales of normalisation layers
    are excluded.

    When to use: to get a sparse network.
    When not: against a D that is too strong; use a penalty on D's input gradient, which is more direct.
    """

    name = "l1_regularization"

    class Config(Settings):
        weight: Scheduled = Field(1e-5, gt=0, description="weight of the sum in the player's loss")
        players: Players = Field(BOTH, description="players whose weights are regularised")

    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        weights = self.weights(player, run)
        return lambda step: l1(weights)
