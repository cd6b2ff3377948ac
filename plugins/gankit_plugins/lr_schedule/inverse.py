"""Learning rate that falls like a power of 1/t."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def inverse(t: int, init_lr: float, gamma: float, power: float) -> float:
    """Return LR(t) = init_lr (1 + gamma t)^(-power), at iteration t = 0, 1, ...

    Meng 2021, equation 5, has a misprint: the power has no minus sign, although the text describes a learning rate that
    falls.
    """
    return init_lr * (1 + gamma * t) ** -power


class Inverse(Plugin):
    """Learning rate that falls like a power of 1/t, from the optimiser's `lr` towards zero.

    Source: Meng 2021, equation 5. The defaults are the values of LeNet in Caffe.

    When to use: for runs of unknown length.
    When not: if the learning rate needs a lower bound; use `igan_dynamic`.
    """

    name = "inverse"
    kind = "lr_schedule"

    class Config(Settings):
        gamma: float = Field(1e-4, ge=0, description="speed of the fall, which starts around iteration 1/gamma")
        power: float = Field(0.75, ge=0, description="power of the fall")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: inverse(t, init_lr=1.0, gamma=self.config.gamma, power=self.config.power)
