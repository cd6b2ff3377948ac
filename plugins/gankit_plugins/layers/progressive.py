"""Growth of networks during training, from images of 4x4 to the full size (Karras 2017, section 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit_plugins.layers.square_sizes import FIRST


class Growth(NamedTuple):
    """Current level of a growing network. It fades in with the weight alpha = step / steps, up to alpha = 1."""

    level: int
    step: int
    steps: int

    @property
    def alpha(self) -> float:
        """Weight of the current level, in [0, 1]. The level below it has the weight 1 - alpha."""
        return self.step / self.steps


def growth_at(iteration: int, stable: int, fade: int, levels: int) -> Growth:
    """Return the level and its weight at iteration t = 0, 1, ... (Karras 2017, appendix A.1).

    Level 0 is trained for `stable` iterations. Each further level fades in during `fade` iterations, with alpha from 0
    to 1 - 1 / fade, and is then trained for `stable` iterations. The last level is trained until the end.
    """
    level, rest = divmod(iteration + fade, stable + fade)
    return Growth(level, rest, fade) if level < levels and rest < fade else Growth(min(level, levels - 1), 1, 1)


def complete_at(stable: int, fade: int, levels: int) -> int:
    """Return the number of iterations until the last level has faded in completely."""
    return (levels - 1) * (stable + fade)


def enlarge(x: Tensor, factor: int = 2) -> Tensor:
    """Upsample x, (B, C, H, W), to (B, C, factor * H, factor * W) with nearest-neighbour interpolation."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="nearest")


def shrink(x: Tensor, factor: int = 2) -> Tensor:
    """Downsample x, (B, C, H, W), to (B, C, H / factor, W / factor) with average pooling."""
    return x if factor == 1 else F.avg_pool2d(x, factor)


def blend(lower: Tensor, higher: Tensor, alpha: Tensor) -> Tensor:
    """Return `(1 - alpha) * lower + alpha * higher` (Karras 2017, figure 2b). `alpha` is a scalar tensor."""
    return (1 - alpha) * lower + alpha * higher


class Growing(nn.Module):
    """Base class of networks that grow. Level k is for images of side 4 * 2^k.

    The current level and its weight are stored twice: in the buffer `growth`, which is saved with the network, and in
    the attribute `now`. In training mode, the network uses `now`, because reading the buffer would make the CPU wait
    for the GPU. In evaluation mode, the network copies the buffer to `now`, because loading a state changes only the
    buffer. An exported graph has the level of the last call. Initially, all levels are active.
    """

    growth: Tensor
    """Fields of `Growth` (level, current step, number of steps) as a tensor, (3,) int64.

    Integers have no rounding errors when they are averaged over the ranks.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.now = Growth(levels - 1, 1, 1)
        self.register_buffer("growth", torch.tensor(self.now))

    def grow(self, growth: Growth) -> None:
        """Set the current level and its weight. Call this method only between two training steps."""
        self.now = growth
        for number, value in zip(self.growth, growth, strict=True):
            number.fill_(value)

    def level_and_alpha(self) -> tuple[int, Tensor | None]:
        """Return the current level and its weight alpha. The weight is a scalar tensor, or None if alpha is 1."""
        if not self.training and not torch.compiler.is_compiling():
            self.now = Growth(*map(int, self.growth))
        level, step, steps = self.now
        return level, None if step == steps else self.growth[1] / self.growth[2]

    def to_level(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) at the size of the current level. Larger images are averaged down to this size."""
        level, _ = self.level_and_alpha()
        return shrink(images, images.shape[2] // (FIRST << level))

    def fade_detail(self, images: Tensor) -> Tensor:
        """Return images of the current level, blended with their half-resolution version, which has weight 1 - alpha.

        Source: Karras 2017, section 2 and figure 2: real images are also interpolated between two resolutions.
        """
        _, alpha = self.level_and_alpha()
        return images if alpha is None else blend(enlarge(shrink(images)), images, alpha)
