"""Orthogonal regularisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, Run, Scheduled, Settings, Step
from gankit_plugins.layers.weights import Players, filters
from gankit_plugins.penalty.weight_matrices import ParameterPenalty


def not_orthonormal(W: Tensor) -> Tensor:
    """Return ||W W^T - I||_F^2 for matrices W (groups, m, n), summed to a scalar (Brock 2018, equation 2).

    The rows of W are the filters of a layer. In the paper the filters are columns, and the product is W^T W.
    """
    with torch.autocast(W.device.type, enabled=False):
        gram = W @ W.transpose(1, 2)
        return (gram - torch.eye(W.shape[1], dtype=W.dtype, device=W.device)).square().sum()


class OrthogonalRegularization(ParameterPenalty):
    """Penalty that makes the filters of every layer nearly orthonormal (orthogonal to each other, with length 1).

    Source: Brock 2016 (Neural Photo Editing), section 3.3; Brock 2018, equation 2. A layer with orthonormal filters
    preserves the norm of its input. If a player has one network per class, the networks are regularised separately. The
    penalty cannot reach 0 for layers with more filters than weights per filter.

    When to use: for networks whose signal vanishes or explodes with depth.
    When not: for a generator that will be sampled with truncation; use `relaxed_orthogonal_regularization`. This
    penalty also fixes the lengths of the filters, which is too strong a constraint (Brock 2018).
    """

    name = "orthogonal_regularization"

    class Config(Settings):
        weight: Scheduled = Field(1e-4, gt=0, description="beta, weight of the sum over all layers")
        players: Players = Field(["generator"], description="players whose weights are regularised")

    deviation: ClassVar[Callable[..., Tensor]] = staticmethod(not_orthonormal)
    """Function that maps the filters of one layer, (groups, m, n), to the layer's penalty, a scalar."""

    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        layers = self.layers(player, run)
        return lambda step: torch.stack([self.deviation(filters(layer)) for layer in layers]).sum()
