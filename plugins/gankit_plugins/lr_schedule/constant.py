"""Constant learning rate."""

from __future__ import annotations

from collections.abc import Callable

from gankit import Plugin, hookimpl


def constant(t: int, init_lr: float) -> float:
    """Return LR(t) = init_lr, at iteration t = 0, 1, ... (Meng 2021, equation 2)."""
    return init_lr


class Constant(Plugin):
    """Constant learning rate: the optimiser's `lr` in every iteration.

    Source: Meng 2021, equation 2.

    When to use: as a baseline, and for runs that may get more iterations later.
    When not: if image quality still fluctuates at the end of training; use a schedule that lowers the learning rate.
    """

    name = "constant"
    kind = "lr_schedule"

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: constant(t, init_lr=1.0)
