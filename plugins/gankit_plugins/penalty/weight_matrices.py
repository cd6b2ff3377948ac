"""Base class of penalties on the parameters of networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from gankit import InputError, LossTerm, Player, Plugin, Run, Step, hookimpl
from gankit_plugins.layers.weights import LAYERS
from gankit_plugins.layers.weights import filters as filters

T = TypeVar("T")


class ParameterPenalty(Plugin):
    """Base class of penalties on the parameters of the players in the setting `players`."""

    kind = "penalty"
    config: Any

    @abstractmethod
    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        """Return the function of the loss term of a player."""

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            yield LossTerm(self.name, self.penalty(player, run), weight=self.config.weight)

    def layers(self, player: Player, run: Run) -> list[nn.Module]:
        """Return the convolutions and linear layers of a player's network, at least one."""
        layers: list[nn.Module] = [module for module in run.networks[player].modules() if isinstance(module, LAYERS)]
        return self._not_empty(layers, player, "no convolution or linear layer")

    def weights(self, player: Player, run: Run) -> list[nn.Parameter]:
        """Return a player's parameters of more than one dimension, which excludes biases and scales of norms."""
        weights = [p for p in run.parameters[player] if p.dim() > 1]
        return self._not_empty(weights, player, "no parameter of more than one dimension")

    def _not_empty(self, items: list[T], player: Player, problem: str) -> list[T]:
        if not items:
            raise InputError(f"{self.name}: players: the {player} has {problem}; remove it from `players`")
        return items
