"""L1 regularisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, hookimpl
from gankit_plugins.penalty.weight_matrices import weights_to_regularize

if TYPE_CHECKING:
    from gankit import Run


def l1(weights: Sequence[Tensor]) -> Tensor:
    """The sum of |w| over all weights, a scalar, from tensors of any shapes (Tibshirani 1996, in its penalty form)."""
    return torch.stack(torch._foreach_norm(list(weights), 1)).sum()


class L1Regularization(Plugin):
    """Adds the sum of the weights' absolute values to a player's loss.

    Source: Tibshirani 1996 (Regression Shrinkage and Selection via the Lasso). It draws small weights all the way to
    0. Weights are what has more than one dimension; biases and the scales of norms are left alone.

    When to use: a network that ought to be sparse.
    When not: as a cure for a D that is too strong; a penalty on its gradient acts where it matters.
    """

    name = "l1_regularization"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(1e-5, gt=0, description="of the sum in the player's loss")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="whose weights are regularised"
        )

    config: Config

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            weights = weights_to_regularize(run, player, self.name)
            yield LossTerm("l1_regularization", lambda step: l1(weights), weight=self.config.weight)
