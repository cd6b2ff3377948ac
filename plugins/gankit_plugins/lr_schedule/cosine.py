"""Learning rate that falls like half a period of the cosine."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Run, Settings, hookimpl


def cosine(t: int, init_lr: float, end_lr: float, T: int) -> float:
    """Return LR(t) = end_lr + (init_lr - end_lr) (1 + cos(pi t/T)) / 2 at iteration t = 0, 1, ..., T; end_lr for t > T.

    Source: Loshchilov 2016 (SGDR), equation 5, without restarts.
    """
    return end_lr + (init_lr - end_lr) * (1 + math.cos(math.pi * min(t / T, 1.0))) / 2


class Cosine(Plugin):
    """Learning rate that falls from the optimiser's `lr` like half a period of the cosine, and then stays constant.

    Source: Loshchilov 2016 (SGDR: Stochastic Gradient Descent with Warm Restarts), equation 5, without restarts. R3GAN
    uses this schedule at the beginning of training, from 0.0002 to 0.00005 (`end = 0.25`; Huang 2024, appendix).

    When to use: for runs of fixed length, or with `iterations` for the beginning of a long run. The learning rate
    changes slowly at the start and at the end of the schedule.
    When not: without `iterations`, for a run that may get more iterations later. T is then `train.iterations`, so a
    longer run has different learning rates from its second iteration on.
    """

    name = "cosine"
    kind = "lr_schedule"

    class Config(Settings):
        end: float = Field(0.0, ge=0, description="last learning rate, as a multiple of the first one")
        iterations: int | None = Field(
            None, ge=1, description="T, iteration from which on the rate is constant; default: train.iterations"
        )

    config: Config

    @hookimpl
    def lr_schedule(self, run: Run) -> Callable[[int], float]:
        T = self.config.iterations or run.recipe.train.iterations
        return lambda t: cosine(t, init_lr=1.0, end_lr=self.config.end, T=T)
