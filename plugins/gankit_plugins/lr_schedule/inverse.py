"""The rate that falls like a power of 1/t."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from gankit import Plugin, Settings, hookimpl


def inverse(t: int, init_lr: float, gamma: float, power: float) -> float:
    """LR(t) = init_lr (1 + gamma t)^(-power), at iteration t = 0, 1, ...

    Meng 2021, equation 5, prints the power without its sign, though the text has the rate fall.
    """
    return init_lr * (1 + gamma * t) ** -power


class Inverse(Plugin):
    """Lets the optimiser's rate fall like a power of 1/t, towards zero but never there.

    Source: Meng 2021, equation 5. The defaults are those of Caffe's LeNet, which the law is known from.

    When to use: when the length of the run is open.
    When not: where the rate must not fall below a floor: `igan_dynamic` has one.
    """

    name = "inverse"
    kind = "lr_schedule"

    class Config(Settings):
        gamma: float = Field(1e-4, ge=0, description="how early the fall begins: around iteration 1/gamma")
        power: float = Field(0.75, ge=0, description="how steeply the rate falls in the end")

    config: Config

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: inverse(t, init_lr=1.0, gamma=self.config.gamma, power=self.config.power)
