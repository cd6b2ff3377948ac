"""Learning rate that falls in steps."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def step(t: int, init_lr: float, gamma: float, every: int) -> float:
    """Return LR(t) = init_lr gamma^floor(t / every), at iteration t = 0, 1, ... (Meng 2021, equation 3)."""
    return init_lr * gamma ** (t // every)


class StepDecay(Plugin):
    """Learning rate that starts at the optimiser's `lr` and is multiplied by gamma at regular intervals.

    Source: Meng 2021, equation 3.

    When to use: when the iterations at which training stalls are known.
    When not: for a first run; prefer a smooth schedule, which has no interval to choose.
    """

    name = "step"
    kind = "lr_schedule"

    class Config(Settings):
        gamma: float = Field(0.5, gt=0, le=1, description="factor of the learning rate")
        every: int = Field(1000, ge=1, description="interval in iterations")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: step(t, init_lr=1.0, gamma=self.config.gamma, every=self.config.every)
