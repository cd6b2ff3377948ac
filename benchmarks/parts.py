"""Parts that only benchmarks use: images that show nothing, and a trick that does nothing at every hook point."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Plugin, Settings, hookimpl


class RandomImages(Plugin):
    """Noise in memory. What images show costs nothing and changes nothing in a benchmark."""

    name, kind = "random_images", "data"

    class Config(Settings):
        count: int = Field(6000, ge=1, description="images in all, the same number of each class")
        channels: int = Field(1, ge=1, description="of an image")
        resolution: int = Field(28, ge=1, description="pixels")
        classes: int = Field(10, ge=0, description="0: no labels")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset(c.channels, c.resolution, tuple(str(k) for k in range(c.classes)), self._read)

    def _read(self) -> tuple[Tensor, Tensor | None]:
        c = self.config
        randomness = torch.Generator().manual_seed(0)
        shape = (c.count, c.channels, c.resolution, c.resolution)
        images = torch.randint(0, 256, shape, generator=randomness, dtype=torch.uint8)
        return images, torch.arange(c.count) % c.classes if c.classes else None


class Idle(Plugin):
    """Has a hand in everything that happens in an iteration, and leaves it as it is."""

    name, kind = "idle", "trick"

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: 1.0

    @hookimpl
    def before_d_step(self) -> None: ...

    @hookimpl
    def before_g_step(self) -> None: ...

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return images, labels

    @hookimpl
    def after_backward(self) -> None: ...

    @hookimpl
    def after_d_step(self) -> None: ...

    @hookimpl
    def after_g_step(self) -> None: ...

    @hookimpl
    def after_iteration(self) -> None: ...
