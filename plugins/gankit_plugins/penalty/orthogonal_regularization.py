"""Orthogonal regularisation."""

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


def not_orthonormal(W: Tensor) -> Tensor:
    """||W W^T - I||_F^2 over all groups, a scalar in float32 at least (Brock 2018, equation 2).

    The rows of W are the layer's filters, which the papers write as columns: there it is W^T W.

    Args:
        W: (groups, m, n), m filters of n numbers in each group, as rows.
    """
    with torch.autocast(W.device.type, enabled=False):
        gram = W @ W.transpose(1, 2)
        return (gram - torch.eye(W.shape[1], dtype=W.dtype, device=W.device)).square().sum()


class OrthogonalRegularization(Plugin):
    """Pulls every layer's filters towards being orthogonal to each other and of length 1.

    Source: Brock 2016 (Neural Photo Editing), section 3.3; Brock 2018, equation 2. A layer whose filters are
    orthonormal stretches nothing and loses nothing. Of networks for each class, which lie side by side in one layer,
    each is regularised by itself. Layers with more filters than numbers in a filter cannot reach 0.

    When to use: networks whose signal dies or explodes with depth.
    When not: to train a generator for truncation: it binds the filters' lengths too, and is too strong for that
    (Brock 2018); `relaxed_orthogonal_regularization` is the form to take.
    """

    name = "orthogonal_regularization"
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
                "orthogonal_regularization",
                lambda step: torch.stack([not_orthonormal(filters(layer)) for layer in layers]).sum(),
                weight=self.config.weight,
            )
