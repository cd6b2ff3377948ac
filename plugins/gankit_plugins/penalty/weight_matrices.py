"""A network's weights as matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor, nn

from gankit import InputError

if TYPE_CHECKING:
    from gankit import Player, Run

T = TypeVar("T")
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def layers_of(network: nn.Module) -> Iterator[nn.Module]:
    """The convolutions and linear layers of a network."""
    return (module for module in network.modules() if isinstance(module, LAYERS))


def layers_to_regularize(run: Run, player: Player, plugin: str) -> list[nn.Module]:
    """The convolutions and linear layers of a player's network.

    Raises InputError when there are none.
    """
    layers = list(layers_of(run.networks[player]))
    return _found(layers, plugin, player, "no convolution or linear layer")


def weights_to_regularize(run: Run, player: Player, plugin: str) -> list[nn.Parameter]:
    """A player's parameters without biases and the scales of norms: those of more than one dimension.

    Raises InputError when there are none.
    """
    weights = [p for p in run.parameters[player] if p.dim() > 1]
    return _found(weights, plugin, player, "no parameter of more than one dimension")


def _found(things: list[T], plugin: str, player: Player, none: str) -> list[T]:
    if not things:
        raise InputError(
            f"{plugin}: the {player} has {none}, so there is nothing to regularise; leave it out of `players`"
        )
    return things


def filters(layer: nn.Module) -> Tensor:
    """A layer's weight as (groups, m, n): in each group m filters, one for an output channel, of n numbers.

    Networks for each class lie side by side as the groups of one layer.
    """
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    assert isinstance(weight, Tensor)
    if not isinstance(layer, TRANSPOSED):
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    # (in, out / groups, ...): the groups lie along the inputs.
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).reshape(groups, outputs, -1)
