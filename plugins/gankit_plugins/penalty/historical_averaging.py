"""Historical averaging."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


def squared_distance(theta: Sequence[Tensor], mean: Sequence[Tensor]) -> Tensor:
    """||theta - mean||^2 over all parameters together, a scalar; shapes agree pairwise."""
    apart = torch._foreach_sub(list(theta), list(mean))
    return torch.stack(torch._foreach_norm(apart, 2)).square().sum()


def include(mean: Sequence[Tensor], theta: Sequence[Tensor], t: int) -> None:
    """The mean of t values becomes, in place, the mean of t + 1: mean += (theta - mean) / (t + 1)."""
    torch._foreach_lerp_(list(mean), [p.detach() for p in theta], 1 / (t + 1))


class HistoricalAveraging(Plugin):
    """Holds each player near the mean of all that its parameters have been.

    Source: Salimans 2016, section 3.3: ||theta - 1/t sum theta[i]||^2 in both players' losses, theta[i] the parameters
    after their i-th turn. The mean is kept as it goes, whatever the length of the run. Before a player's first turn
    the mean is where it began, and the term is 0.

    When to use: players that circle around an equilibrium; the pull to the middle damps them.
    When not: long runs from a bad start, which stays in the mean and holds the players back; `moving_average` takes
    the middle without touching the game.
    """

    name = "historical_averaging"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(1e-3, gt=0, description="of the squared distance in each player's loss")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="who is held near its mean"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.means: dict[Player, list[Tensor]] = {}
        self.turns: dict[Player, int] = dict.fromkeys(config.players, 0)

    @hookimpl
    def on_start(self, run: Run) -> None:
        for player in self.config.players:
            if player not in self.means:
                self.means[player] = [p.detach().clone() for p in run.parameters[player]]

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player in self.config.players:
            theta = run.parameters[player]
            yield LossTerm(
                "historical_averaging",
                lambda step: squared_distance(theta, self.means[player]),
                weight=self.config.weight,
            )

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        self._remember("discriminator", run)

    @hookimpl
    def after_g_step(self, run: Run) -> None:
        self._remember("generator", run)

    def _remember(self, player: Player, run: Run) -> None:
        if player in self.config.players:
            include(self.means[player], run.parameters[player], self.turns[player])
            self.turns[player] += 1

    def state_dict(self) -> dict[str, Any]:
        turns = {f"{player}.turns": turns for player, turns in self.turns.items()}
        means = {f"{player}.{n}": mean for player, means in self.means.items() for n, mean in enumerate(means)}
        return turns | means

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for player in self.config.players:
            self.turns[player] = state[f"{player}.turns"]
            count = sum(name.startswith(f"{player}.") for name in state) - 1
            self.means[player] = [state[f"{player}.{n}"] for n in range(count)]
