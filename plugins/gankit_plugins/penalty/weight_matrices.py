"""Penalties on the weights of networks, and weights as matrices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

from gankit import InputError, LossTerm, Player, Plugin, Run, Step, hookimpl

T = TypeVar("T")
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


class ParameterPenalty(Plugin):
    """Base of penalties on the parameters of the players in the setting `players`."""

    kind = "penalty"
    config: Any

    @abstractmethod
    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        """Return the function of the loss term of a player."""

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            yield LossTerm(self.name, self.penalty(player, run), weight=self.config.weight)


def layers_of(network: nn.Module) -> Iterator[nn.Module]:
    """Return the convolutions and linear layers of a network."""
    return (module for module in network.modules() if isinstance(module, LAYERS))


def layers_to_regularize(run: Run, player: Player, plugin: str) -> list[nn.Module]:
    """Return the convolutions and linear layers of a player's network.

    Raises:
        InputError: there are none.
    """
    layers = list(layers_of(run.networks[player]))
    return _not_empty(layers, plugin, player, "no convolution or linear layer")


def weights_to_regularize(run: Run, player: Player, plugin: str) -> list[nn.Parameter]:
    """Return a player's parameters of more than one dimension, which excludes biases and scales of norms.

    Raises:
        InputError: there are none.
    """
    weights = [p for p in run.parameters[player] if p.dim() > 1]
    return _not_empty(weights, plugin, player, "no parameter of more than one dimension")


def _not_empty(items: list[T], plugin: str, player: Player, problem: str) -> list[T]:
    if not items:
        raise InputError(f"{plugin}: players: the {player} has {problem} to regularise; remove it from `players`")
    return items


def filters(layer: nn.Module) -> Tensor:
    """Return a layer's weight as (groups, m, n): for each group, one row of n values for each of m output channels.

    The networks of several classes are the groups of one layer.
    """
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    assert isinstance(weight, Tensor)
    if not isinstance(layer, TRANSPOSED):
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    # The shape is (in, out / groups, ...), with the groups along the inputs.
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).reshape(groups, outputs, -1)
