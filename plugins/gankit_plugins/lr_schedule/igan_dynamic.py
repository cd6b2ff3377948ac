"""IGAN's learning-rate schedule, in which the learning rate falls quickly to a constant."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def igan_dynamic(t: int, end_lr: float, init_set: float, gamma: float) -> float:
    """Return LR(t) = end_lr + 1 / (init_set + gamma t), at iteration t = 0, 1, ... (Meng 2021, equation 6)."""
    return end_lr + 1 / (init_set + gamma * t)


class IganDynamic(Plugin):
    """Learning rate of IGAN. It starts high and falls quickly to the optimiser's setting `lr`.

    Source: Meng 2021, equation 6: LR(t) = end_lr + 1 / (init_set + gamma t). The optimiser's `lr` is multiplied by
    LR(t) / end_lr, so `lr` is the final learning rate. With lr = end_lr, the learning rate is LR(t), which starts at
    0.00053 with the defaults. With lr = 1.5 end_lr, as for the paper's G, the learning rate is 1.5 LR(t).

    For MNIST and Fashion-MNIST, the paper starts at 0.002. Use init_set = 1 / (0.002 - end_lr) = 555.56.

    When to use: for the IGAN family, and for runs of unknown length.
    When not: if the learning rate should fall to zero; use `polynomial`.
    """

    name = "igan_dynamic"
    kind = "lr_schedule"

    class Config(Settings):
        end_lr: float = Field(0.0002, gt=0, description="final learning rate of equation 6")
        init_set: float = Field(3000.0, gt=0, description="the initial learning rate is 1 / init_set above end_lr")
        gamma: float = Field(10.0, ge=0, description="speed of the fall")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        c = self.config
        return lambda t: igan_dynamic(t, c.end_lr, c.init_set, c.gamma) / c.end_lr
