"""Parts of recipes for `growth.py`: images of noise in any number and size, and a trick that does nothing."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Plugin, Settings, Step, hookimpl


class Noise(Plugin):
    """Images at random. What they show costs nothing and changes nothing."""

    name = "noise"
    kind = "data"

    class Config(Settings):
        count: int = Field(ge=1)
        resolution: int = Field(ge=1)
        channels: int = 1
        classes: int = 0

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config

        def load() -> tuple[Tensor, Tensor | None]:
            images = torch.randint(0, 256, (c.count, c.channels, c.resolution, c.resolution), dtype=torch.uint8)
            return images, torch.arange(c.count) % c.classes if c.classes else None

        return Dataset(c.channels, c.resolution, tuple(str(k) for k in range(c.classes)), load)


class Idle(Plugin):
    """Implements what plugins may in every turn and every iteration, and does nothing there."""

    name = "idle"

    @hookimpl
    def before_d_step(self, run: object, step: Step) -> None:
        return None

    @hookimpl
    def before_g_step(self, run: object, step: Step) -> None:
        return None

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return images, labels

    @hookimpl
    def after_backward(self, run: object, step: Step, player: str) -> None:
        return None

    @hookimpl
    def after_d_step(self, run: object, step: Step) -> None:
        return None

    @hookimpl
    def after_g_step(self, run: object, step: Step) -> None:
        return None

    @hookimpl
    def after_iteration(self, run: object) -> None:
        return None
