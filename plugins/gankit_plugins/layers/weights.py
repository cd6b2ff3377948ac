"""Layers with weights, functions that return weights as matrices, and the type of the setting `players`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import Player

Players = Annotated[list[Player], Field(min_length=1)]
BOTH: list[Player] = ["generator", "discriminator"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def trainable_layers(network: nn.Module, types: tuple[type[nn.Module], ...] = LAYERS) -> list[nn.Module]:
    """Return the layers of a network whose weights require gradients. Tricks and penalties ignore frozen weights."""
    return [module for module in network.modules() if isinstance(module, types) and module.weight.requires_grad]


def filters(layer: nn.Module) -> Tensor:
    """Return the weight of a layer as one matrix per group, (groups, m, n). Each of the m rows contains one filter."""
    assert isinstance(layer.weight, Tensor)
    return as_matrices(layer.weight, getattr(layer, "groups", 1), isinstance(layer, TRANSPOSED))


def as_matrices(weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """Return a layer's weight as one matrix per group, (groups, m, n), with one row for each output channel.

    If the layer combines the separate networks of several classes, each group belongs to one class.
    """
    if not transposed:
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    # The weight of a transposed convolution has the shape (inputs, outputs / groups, ...). Its first dimension contains
    # the groups, so split that dimension.
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).reshape(groups, outputs, -1)
