"""Dataset of clips of moving shapes that this module draws, so no files or downloads are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import ClassCondition, Condition, Dataset, VectorCondition, hookimpl
from gankit_plugins.data.clip_output import ClipData, ClipSettings
from gankit_plugins.data.shapes import MAX_PIXELS, Kind, Sketch, coverage, paint
from gankit_plugins.layers.motion import DIRECTIONS, VELOCITY

CHUNK = 250
"""Number of clips whose random numbers are drawn together. A seed gives other clips if this number changes."""


class MovingShapes(ClipData):
    """Clips of bright shapes that move straight ahead at constant speed, on dark backgrounds.

    Kind, size, angle and colour of the shape, its start and the background are random, as in `shapes`. The speed of a
    clip is uniform in `speed`. The whole path lies inside the frame, so that the motion of a generated clip can be
    measured (`motion`). The same seed gives the same clips on every machine.

    With `condition = "direction"`, the shape moves to the right, down, left or up, and the direction is the class. With
    `condition = "velocity"`, it moves in any direction, and the condition consists of two numbers: `right` and `down`,
    in pixels per frame. With `condition = "none"`, it also moves in any direction.

    Source: none.

    When to use: for tests of networks for video without a download, and to measure whether motion follows a condition.
    When not: for conclusions about natural video.
    """

    name = "moving_shapes"

    class Config(ClipSettings):
        frames: int = Field(16, ge=2, le=1024, description="frames of a clip")
        resolution: int = Field(32, ge=8, le=1024, description="height and width in pixels")
        channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
        count: int = Field(2000, ge=1, le=1_000_000, description="number of clips")
        kinds: tuple[Kind, ...] = Field(("circle", "square", "triangle"), min_length=1, description="kinds of shapes")
        size: float = Field(0.3, gt=0, le=0.9, description="radius of the circle around a shape; 1 is half a frame")
        speed: tuple[float, float] = Field((0.5, 1.3), description="lowest and highest speed, in pixels per frame")
        condition: Literal["direction", "velocity", "none"] = Field(
            "direction", description="condition of a clip: its direction (four classes), its velocity, or none"
        )
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the clips; independent of the run's seed")

        @model_validator(mode="after")
        def _inside(self) -> MovingShapes.Config:
            low, high = self.speed
            if not 0 <= low <= high or high == 0:
                raise ValueError("speed: give a lowest and a highest speed, such as [0.5, 1.3]")
            space = (0.98 - self.size) * self.resolution
            if (path := high * (self.frames - 1)) > space:
                raise ValueError(
                    f"speed: in {self.frames} frames, a shape moves up to {path:g} pixels, and there is space for "
                    f"{max(0, space):.1f}; set a lower speed, fewer frames, a smaller size or a larger resolution"
                )
            return self

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        shape = (c.channels, c.frames, c.resolution, c.resolution)
        return Dataset(shape, self.condition, self.draw_all, self.stream, c.count)

    @property
    def condition(self) -> Condition | None:
        """Description of the condition of the clips."""
        highest = self.config.speed[1]
        conditions: dict[str, Condition] = {
            "direction": ClassCondition(tuple(DIRECTIONS)),
            "velocity": VectorCondition(VELOCITY, ((-highest, highest),) * 2),
        }
        return conditions.get(self.config.condition)

    def draw_all(self) -> tuple[Tensor, Tensor | None]:
        """Draw all clips, (count, channels, frames, resolution, resolution) uint8. Return the clips and conditions."""
        clips, conditions = zip(*self.stream(), strict=True)
        return torch.cat(clips), None if conditions[0] is None else torch.cat(conditions)

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the clips and conditions of `draw_all` in chunks, in the same order."""
        c = self.config
        generator = torch.Generator().manual_seed(c.seed)
        for begin in range(0, c.count, CHUNK):
            count = min(CHUNK, c.count - begin)
            labels = torch.arange(begin, begin + count) % len(DIRECTIONS)
            speed = c.speed[0] + (c.speed[1] - c.speed[0]) * torch.rand(count, generator=generator)
            angle = 2 * math.pi * torch.rand(count, generator=generator)
            if c.condition == "direction":
                angle = labels * (math.pi / 2)
            velocity = speed[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
            clips = self._draw(velocity, generator)
            if c.condition == "none":
                yield clips, None
            elif c.condition == "direction":
                yield clips, labels
            else:
                condition = self.condition
                assert isinstance(condition, VectorCondition)
                yield clips, condition.scaled(velocity)

    def _draw(self, velocity: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one clip for each velocity (N, 2), in pixels per frame to the right and down."""
        c, count = self.config, len(velocity)
        kinds = torch.randint(len(c.kinds), (count,), generator=generator)
        sketch = Sketch.random(kinds, (c.size, c.size), 180.0, generator)
        if c.channels == 1:  # shapes of all hues are equally bright
            background, colour = (one.amax(1, keepdim=True) for one in (sketch.background, sketch.colour))
            sketch = sketch._replace(background=background.expand(-1, 3, -1, -1), colour=colour.expand(-1, 3, -1, -1))
        # The side of a frame is 2 in the coordinates of a sketch. The middle of the path is at `centre`, such that both
        # ends stay inside.
        step = velocity * (2 / c.resolution)
        space = 0.98 - c.size - step.abs() * (c.frames - 1) / 2
        centre = (2 * torch.rand(count, 2, generator=generator) - 1) * space
        times = torch.arange(c.frames) - (c.frames - 1) / 2
        x, y = (centre[:, None] + step[:, None] * times[None, :, None]).flatten(0, 1)[..., None, None].unbind(1)
        each_frame = Sketch(*(field.repeat_interleave(c.frames, 0) for field in sketch))._replace(x=x, y=y)
        parts = each_frame.split(max(1, MAX_PIXELS // c.resolution**2))
        frames = torch.cat([paint(part, coverage(part, c.kinds, c.resolution))[:, : c.channels] for part in parts])
        return frames.unflatten(0, (count, c.frames)).transpose(1, 2).contiguous()
