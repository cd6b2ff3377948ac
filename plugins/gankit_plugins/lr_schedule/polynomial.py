"""Learning rate that falls to zero like a power of the remaining time."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Run, Settings, hookimpl


def polynomial(t: int, init_lr: float, T: int, power: float) -> float:
    """Return LR(t) = init_lr (1 - t/T)^power, at iteration t = 0, 1, ..., and 0 for t > T.

    Meng 2021, equation 4, has a misprint: (t/T)^power would rise from 0, although the text describes a learning rate
    that falls.
    """
    return init_lr * max(0.0, 1 - t / T) ** power


class Polynomial(Plugin):
    """Learning rate that falls like (1 - t/T)^power, from the optimiser's `lr` to zero at the end of the run.

    Source: Meng 2021, equation 4, with a misprint corrected.

    When to use: for runs of fixed length.
    When not: for a run that may get more iterations later. T defaults to `train.iterations`, so a longer run has
    different learning rates from its first iteration on.
    """

    name = "polynomial"
    kind = "lr_schedule"

    class Config(Settings):
        power: float = Field(1.0, gt=0, description="1 is linear; with a higher power the fall is faster at first")
        iterations: int | None = Field(
            None, ge=1, description="T, iteration at which the learning rate is 0; default: train.iterations"
        )

    config: Config

    @hookimpl
    def lr_schedule(self, run: Run) -> Callable[[int], float]:
        T = self.config.iterations or run.recipe.train.iterations
        return lambda t: polynomial(t, init_lr=1.0, T=T, power=self.config.power)
