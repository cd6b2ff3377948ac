"""The rate that falls to zero along a power."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from gankit import Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


def polynomial(t: int, init_lr: float, T: int, power: float) -> float:
    """LR(t) = init_lr (1 - t/T)^power, at iteration t = 0, 1, ...; 0 from T on.

    Meng 2021, equation 4, prints (t/T)^power, which would begin at 0 and rise, though the text has it fall.
    """
    return init_lr * max(0.0, 1 - t / T) ** power


class Polynomial(Plugin):
    """Lets the optimiser's rate fall to zero at the end of the run, straight or along a power.

    Source: Meng 2021, equation 4, whose print is a slip: the rate falls as (1 - t/T)^power.

    When to use: when the length of the run is fixed beforehand.
    When not: for a run that may be prolonged: `iterations` defaults to the recipe's train.iterations, so a
    longer run has had another schedule from its first iteration on.
    """

    name = "polynomial"
    kind = "lr_schedule"

    class Config(Settings):
        power: float = Field(1.0, gt=0, description="1 is a straight line; more falls faster at first")
        iterations: int | None = Field(
            None, ge=1, description="T, the iteration at which the rate is 0; without it train.iterations"
        )

    config: Config

    @hookimpl
    def lr_schedule(self, run: Run) -> Callable[[int], float]:
        T = self.config.iterations or run.recipe.train.iterations
        return lambda t: polynomial(t, init_lr=1.0, T=T, power=self.config.power)
