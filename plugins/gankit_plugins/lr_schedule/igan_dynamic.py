"""IGAN's rate, which falls quickly at first and ends on a floor."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def igan_dynamic(t: int, end_lr: float, init_set: float, gamma: float) -> float:
    """LR(t) = end_lr + 1 / (init_set + gamma t), at iteration t = 0, 1, ... (Meng 2021, equation 6)."""
    return end_lr + 1 / (init_set + gamma * t)


class IganDynamic(Plugin):
    """Begins high, falls at once and ends on the optimiser's own rate, which it never goes below.

    Source: Meng 2021, equation 6: LR(t) = end_lr + 1 / (init_set + gamma t). What is applied is
    LR(t) / end_lr, so an optimiser's `lr` is the rate at which it ends. With lr = end_lr the rate is the
    printed LR(t), which begins at 0.00053 with the defaults; with 1.5 times that `lr`, as for the paper's G,
    it is 1.5 times LR(t) throughout.

    For MNIST and Fashion-MNIST the paper begins at 0.002: init_set = 1 / (0.002 - end_lr) = 555.56.

    When to use: the IGAN family; runs whose length is open.
    When not: where the rate should go to zero: `polynomial`.
    """

    name = "igan_dynamic"
    kind = "lr_schedule"

    class Config(Settings):
        end_lr: float = Field(0.0002, gt=0, description="the rate of equation 6 in the end")
        init_set: float = Field(3000.0, gt=0, description="the first rate lies 1 / init_set above end_lr")
        gamma: float = Field(10.0, ge=0, description="how quickly the rate falls")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        c = self.config
        return lambda t: igan_dynamic(t, c.end_lr, c.init_set, c.gamma) / c.end_lr
