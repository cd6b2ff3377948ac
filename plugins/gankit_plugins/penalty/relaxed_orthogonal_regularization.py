"""Orthogonal regularisation, the filters' lengths left free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, hookimpl
from gankit_plugins.penalty.weight_matrices import filters, layers_to_regularize

if TYPE_CHECKING:
    from gankit import Run


def not_orthogonal(W: Tensor) -> Tensor:
    """||W W^T * (1 - I)||_F^2 over all groups, a scalar in float32 at least (Brock 2018, equation 3).

    The rows of W are the layer's filters, which the papers write as columns: there it is W^T W.

    Args:
        W: (groups, m, n), m filters of n numbers in each group, as rows.
    """
    with torch.autocast(W.device.type, enabled=False):
        gram = W @ W.transpose(1, 2)
        return (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))).square().sum()


class RelaxedOrthogonalRegularization(Plugin):
    """Pulls every layer's filters towards being orthogonal to each other, whatever their lengths.

    Source: Brock 2018, equation 3, with beta = 0.0001: `orthogonal_regularization` without the diagonal. Of networks
    for each class, which lie side by side in one layer, each is regularised by itself.

    When to use: a generator that is to take to truncation, which it makes smooth enough for it more often.
    When not: under a normalisation of the weights themselves that already keeps them apart.
    """

    name = "relaxed_orthogonal_regularization"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(1e-4, gt=0, description="beta, of the sum over all layers in the player's loss")
        players: list[Player] = Field(["generator"], min_length=1, description="whose weights are regularised")

    config: Config

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            layers = layers_to_regularize(run, player, self.name)
            yield LossTerm(
                "relaxed_orthogonal_regularization",
                lambda step: torch.stack([not_orthogonal(filters(layer)) for layer in layers]).sum(),
                weight=self.config.weight,
            )
