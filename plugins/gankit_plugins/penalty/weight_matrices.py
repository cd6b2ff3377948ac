"""Base class for penalties on the parameters of networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from gankit import InputError, LossTerm, Player, Plugin, Run, Step, hookimpl
from gankit_plugins.layers.weights import filters as filters
from gankit_plugins.layers.weights import trainable_layers

T = TypeVar("T")


class ParameterPenalty(Plugin):
    """Base class for penalties on network parameters. The setting `players` selects the networks."""

    kind = "penalty"
    config: Any

    @abstractmethod
    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        """Return a function that computes the player's penalty, a scalar, from a training step."""

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            yield LossTerm(self.name, self.penalty(player, run), weight=self.config.weight)

    def layers(self, player: Player, run: Run) -> list[nn.Module]:
        """Return the trainable convolutions and linear layers of a player's network.

        Raises:
            InputError: the network has no such layers.
        """
        return self._not_empty(trainable_layers(run.networks[player]), player, "no trained convolution or linear layer")

    def weights(self, player: Player, run: Run) -> list[nn.Parameter]:
        """Return a player's parameters with two or more dimensions.

        Biases and the scales of normalisations are excluded, because they have one dimension. Modules whose attribute
        `normalizes` is true are also excluded. Their scales and shifts have two dimensions, with a row for each class.

        Raises:
            InputError: the player has no such parameters.
        """
        modules = (module for network in run.networks.values() for module in network.modules())
        excluded = {id(p) for m in modules if getattr(m, "normalizes", False) for p in m.parameters(recurse=False)}
        weights = [p for p in run.parameters[player] if p.dim() > 1 and id(p) not in excluded]
        return self._not_empty(weights, player, "no parameter of more than one dimension")

    def _not_empty(self, items: list[T], player: Player, problem: str) -> list[T]:
        if not items:
            raise InputError(f"{self.name}: players: the {player} has {problem}; remove it from `players`")
        return items
