"""Dataset of bars with an angle, a size and a colour as the condition. A metric measures them in generated images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Dataset, Plugin, Settings, VectorCondition, hookimpl
from gankit_plugins.data.shapes import CHUNK, MAX_PIXELS, Sketch, coverage, paint

COLOURS = {"red": (0.9, 0.15, 0.15), "green": (0.15, 0.9, 0.15), "blue": (0.15, 0.15, 0.9), "yellow": (0.9, 0.9, 0.15)}
"""RGB values of the bars by the name of the colour. The values are from 0 to 1."""

CONDITION = VectorCondition(
    ("angle", "size", *(f"colour={name}" for name in COLOURS)), ((0, 90), (0.4, 0.9), *((0, 1) for _ in COLOURS))
)
"""Angle of a bar in degrees, clockwise from horizontal; size, where 1 is half an image; and colour."""

HALF_LENGTH = 0.95
"""Half of the length of a bar of size 1, as in `gankit_plugins.data.shapes.bar`."""


class Bars(Plugin):
    """Images of bars whose angle, size and colour are the condition, with a measurement of all three.

    An angle is from 0 to 90 degrees, clockwise from horizontal. A size is from 0.4 to 0.9, where 1 is half an image.
    The colours are the words red, green, blue and yellow. Position and background are random. The same seed gives the
    same images on every machine.

    The plugin measures the bars in generated images, and compares them with the requested values. `angle_error` is the
    mean absolute error in degrees. `size_error` is the mean absolute error of the size. `colour_as_asked` is the
    proportion of images with the requested colour. Angle and size are computed from the second moments of the pixels of
    the bar.

    Source: none. Moments of images: Hu 1962.

    When to use: to see how well a conditional generator follows several conditions at once, without a download.
    When not: for conclusions about natural images.
    """

    name = "bars"
    kind = "data"
    better: ClassVar = {"angle_error": "lower", "size_error": "lower", "colour_as_asked": "higher"}

    class Config(Settings):
        resolution: int = Field(32, ge=16, le=4096, description="height and width in pixels")
        count: int = Field(6000, ge=2, le=10_000_000, description="number of images")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the images; independent of the run's seed")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset((3, c.resolution, c.resolution), CONDITION, self.draw_all, self.stream, c.count)

    def draw_all(self) -> tuple[Tensor, Tensor]:
        """Draw all images. Return images (count, 3, resolution, resolution) uint8 and their condition (count, 6)."""
        images, conditions = zip(*self.stream(), strict=True)
        return torch.cat(images), torch.cat(conditions)

    def stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and conditions of `draw_all` in chunks, in the same order."""
        c = self.config
        random = torch.Generator().manual_seed(c.seed)
        low, high = torch.tensor(CONDITION.ranges[:2]).T
        for begin in range(0, c.count, CHUNK):
            uniform = torch.rand(min(CHUNK, c.count - begin), 5, generator=random)
            numbers = low + (high - low) * uniform[:, :2]
            colours = torch.arange(begin, begin + len(uniform)) % len(COLOURS)
            one_hot = torch.nn.functional.one_hot(colours, len(COLOURS))
            condition = CONDITION.scaled(torch.cat([numbers, one_hot], 1))
            sketch = sketch_of(numbers, colours, uniform[:, 2:])
            parts = sketch.split(max(1, MAX_PIXELS // c.resolution**2))
            yield torch.cat([paint(part, coverage(part, ("bar",), c.resolution)) for part in parts]), condition

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        fake = comparison.fake
        if fake.condition is None or fake.described != CONDITION:
            return None
        return condition_errors(fake.images, fake.condition)


def sketch_of(numbers: Tensor, colours: Tensor, uniform: Tensor) -> Sketch:
    """Return the properties of N bars.

    Args:
        numbers: angle in degrees and size of each bar, (N, 2).
        colours: index of the colour of each bar, (N,).
        uniform: random numbers in [0, 1] for position (x and y) and background, (N, 3).
    """
    angle, size = numbers[:, :, None, None].unbind(1)
    x, y = ((2 * uniform[:, :2, None, None] - 1) * (0.98 - size)[:, None]).unbind(1)
    return Sketch(
        labels=torch.zeros_like(colours),
        size=size,
        angle=angle * math.pi / 180,
        x=x,
        y=y,
        background=(0.2 * uniform[:, 2:]).expand(-1, 3)[:, :, None, None],
        slope=torch.zeros(len(numbers), 2, 1, 1, 1),
        colour=torch.tensor(list(COLOURS.values()))[colours][:, :, None, None],
    )


def measure(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Measure the bars in images (N, 3, H, W) uint8. Return angle (N,) in degrees, size (N,) and colour index (N,).

    The pixels of a bar are those that are brighter than the mean of the brightest pixel and the median pixel. For a bar
    of half-length a, the larger eigenvalue of the covariance of the pixels' coordinates is a^2 / 3, and its eigenvector
    is the direction of the bar.
    """
    values = images.double() / 255
    bright = values.amax(1)
    flat = bright.flatten(1)
    threshold = (flat.median(1).values + flat.amax(1)) / 2
    mask = (bright > threshold[:, None, None]).double()
    weight = mask / mask.sum((1, 2), keepdim=True).clamp(min=1)
    y, x = torch.meshgrid(*[(torch.arange(n) + 0.5) / n * 2 - 1 for n in bright.shape[1:]], indexing="ij")
    dx, dy = (axis - (weight * axis).sum((1, 2), keepdim=True) for axis in (x, y))
    xx, yy, xy = ((weight * product).sum((1, 2)) for product in (dx * dx, dy * dy, dx * dy))
    angle = torch.atan2(2 * xy, xx - yy) / 2 * 180 / math.pi
    larger = (xx + yy) / 2 + torch.hypot((xx - yy) / 2, xy)
    colour = (weight[:, None] * values).sum((2, 3))
    nearest = torch.cdist(colour, torch.tensor(list(COLOURS.values())).double()).argmin(1)
    return angle, (3 * larger).sqrt() / HALF_LENGTH, nearest


def condition_errors(images: Tensor, condition: Tensor) -> dict[str, float]:
    """Compare the bars in images (N, 3, H, W) uint8 with their condition (N, 6). Return the errors by name.

    The direction of a bar has no sign, so the difference between two angles is at most 90 degrees.
    """
    angle, size, colour = measure(images)
    low, high = torch.tensor(CONDITION.ranges[:2]).T
    requested = (low + high + (high - low) * condition[:, :2]) / 2
    apart = (angle - requested[:, 0] + 90).remainder(180) - 90
    return {
        "angle_error": apart.abs().mean().item(),
        "size_error": (size - requested[:, 1]).abs().mean().item(),
        "colour_as_asked": (colour == condition[:, 2:].argmax(1)).double().mean().item(),
    }
