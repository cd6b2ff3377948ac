"""The rate that falls in steps."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def step(t: int, init_lr: float, gamma: float, every: int) -> float:
    """lr = lr × gamma after every `every` iterations, at t = 0, 1, ... (Meng 2021, equation 3)."""
    return init_lr * gamma ** (t // every)


class StepDecay(Plugin):
    """Multiplies the optimiser's rate by gamma every so many iterations.

    Source: Meng 2021, equation 3.

    When to use: when it is known at which iterations training stalls.
    When not: for a first try; a smooth schedule has nothing to time.
    """

    name = "step"
    kind = "lr_schedule"

    class Config(Settings):
        gamma: float = Field(0.5, gt=0, le=1, description="what the rate is multiplied by")
        every: int = Field(1000, ge=1, description="iterations from one step to the next")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: step(t, init_lr=1.0, gamma=self.config.gamma, every=self.config.every)
