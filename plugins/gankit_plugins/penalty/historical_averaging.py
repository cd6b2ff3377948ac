"""Historical averaging: a penalty on the distance between parameters and the mean of their past values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, Run, Scheduled, Settings, Step, hookimpl
from gankit_plugins.layers.weights import BOTH, Players
from gankit_plugins.penalty.weight_matrices import ParameterPenalty


def squared_distance(theta: Sequence[Tensor], mean: Sequence[Tensor]) -> Tensor:
    """Return ||theta - mean||^2, summed over all parameters. `theta` and `mean` contain tensors of equal shapes."""
    differences = torch._foreach_sub(list(theta), list(mean))
    return torch.stack(torch._foreach_norm(differences, 2)).square().sum()


def update_mean(mean: Sequence[Tensor], theta: Sequence[Tensor], t: int) -> None:
    """Update the mean of t past parameter values with theta, in place: `mean += (theta - mean) / (t + 1)`."""
    torch._foreach_lerp_(list(mean), [p.detach() for p in theta], 1 / (t + 1))


class HistoricalAveraging(ParameterPenalty):
    """Penalty that pulls each player's parameters towards the mean of all their past values.

    Source: Salimans 2016, section 3.3: `||theta - 1/t sum theta[i]||^2` in the losses of both players, where theta[i]
    are the parameters after step i. The mean is updated in place, so the memory use does not grow. Before the first
    step, the mean equals the initial parameters, and the penalty is 0.

    When to use: if the players oscillate around an equilibrium, because the pull towards the mean damps the
    oscillation.
    When not: in long runs with bad early parameters, which stay in the mean and slow the training down. Consider
    `moving_average`, which does not change the training.
    """

    name = "historical_averaging"

    class Config(Settings):
        weight: Scheduled = Field(1e-3, gt=0, description="weight of the squared distance in each player's loss")
        players: Players = Field(BOTH, description="players that are held near their means")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.means: dict[Player, list[Tensor]] = {}
        self.steps: dict[Player, int] = dict.fromkeys(config.players, 0)

    @hookimpl
    def on_start(self, run: Run) -> None:
        for player in self.config.players:
            if player not in self.means:
                self.means[player] = [p.detach().clone() for p in run.parameters[player]]

    def penalty(self, player: Player, run: Run) -> Callable[[Step], Tensor]:
        theta = run.parameters[player]
        return lambda step: squared_distance(theta, self.means[player])

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        self._update("discriminator", run)

    @hookimpl
    def after_g_step(self, run: Run) -> None:
        self._update("generator", run)

    def _update(self, player: Player, run: Run) -> None:
        if player in self.config.players:
            update_mean(self.means[player], run.parameters[player], self.steps[player])
            self.steps[player] += 1

    def state_dict(self) -> dict[str, Any]:
        steps = {f"{player}.steps": count for player, count in self.steps.items()}
        means = {f"{player}.{n}": mean for player, means in self.means.items() for n, mean in enumerate(means)}
        return steps | means

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for player in self.config.players:
            self.steps[player] = state[f"{player}.steps"]
            count = sum(name.startswith(f"{player}.") for name in state) - 1
            self.means[player] = [state[f"{player}.{n}"] for n in range(count)]
