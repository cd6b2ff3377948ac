"""Learning rate that falls to zero along a power."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Run, Settings, hookimpl


def polynomial(t: int, init_lr: float, T: int, power: float) -> float:
    """Return LR(t) = init_lr (1 - t/T)^power, at iteration t = 0, 1, ...; 0 from T on.

    Meng 2021, equation 4, prints (t/T)^power, which would start at 0 and rise, although the text describes a fall.
    """
    return init_lr * max(0.0, 1 - t / T) ** power


class Polynomial(Plugin):
    """Lowers the optimiser's learning rate to zero at the end of the run, linearly or along a power.

    Source: Meng 2021, equation 4, with a misprint corrected: the learning rate falls as (1 - t/T)^power.

    When to use: runs of fixed length.
    When not: for a run that may be extended: `iterations` defaults to the recipe's train.iterations, so a longer run
    has another schedule from its first iteration on.
    """

    name = "polynomial"
    kind = "lr_schedule"

    class Config(Settings):
        power: float = Field(1.0, gt=0, description="1 is linear; more falls faster at first")
        iterations: int | None = Field(
            None, ge=1, description="T, iteration at which the learning rate is 0; default: train.iterations"
        )

    config: Config

    @hookimpl
    def lr_schedule(self, run: Run) -> Callable[[int], float]:
        T = self.config.iterations or run.recipe.train.iterations
        return lambda t: polynomial(t, init_lr=1.0, T=T, power=self.config.power)
