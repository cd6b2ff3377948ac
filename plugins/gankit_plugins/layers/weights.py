"""Layers with weights, their weights as matrices, and the setting of the players on which a plugin acts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import Player

Players = Annotated[list[Player], Field(min_length=1)]
BOTH: list[Player] = ["generator", "discriminator"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def filters(layer: nn.Module) -> Tensor:
    """Return the weight of a layer as `as_matrices` does."""
    assert isinstance(layer.weight, Tensor)
    return as_matrices(layer.weight, getattr(layer, "groups", 1), isinstance(layer, TRANSPOSED))


def as_matrices(weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """Return a layer's weight as (groups, m, n): for each group, one row of n values for each of m output channels.

    The networks of several classes are the groups of one layer.
    """
    if not transposed:
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    # The shape is (in, out / groups, ...), with the groups along the inputs.
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).reshape(groups, outputs, -1)
