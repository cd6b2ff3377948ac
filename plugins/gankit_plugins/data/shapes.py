"""Drawn shapes: a dataset that needs no file and no download."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gankit import Dataset, Plugin, Settings, hookimpl

Radius = Annotated[float, Field(gt=0, le=0.95)]

Kind = Literal["circle", "square", "triangle", "star", "ring", "cross", "crescent", "bar"]

CHUNK = 500
"""Images whose random numbers are drawn at once. Another number would give other images."""

PIXELS = 1 << 19
"""Painted at once, which bounds the memory needed whatever the resolution."""


def circle(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 0.85


def square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.7


def triangle(u: Tensor, v: Tensor) -> Tensor:
    """Equilateral, its corners on the unit circle, one of them up."""
    slanted = math.sqrt(3) / 2 * u.abs() - v / 2
    return torch.maximum(slanted, v) - 0.5


def star(u: Tensor, v: Tensor) -> Tensor:
    """Five points on the unit circle, one of them up; the dents at 0.45."""
    tenth = math.pi / 5
    angle = torch.remainder(torch.atan2(u, -v) + tenth, 2 * tenth) - tenth
    radius = torch.hypot(u, v)
    x, y = radius * angle.cos(), radius * angle.sin().abs()
    dent_x, dent_y = 0.45 * math.cos(tenth), 0.45 * math.sin(tenth)
    edge = math.hypot(1 - dent_x, dent_y)
    return ((x - 1) * dent_y + y * (1 - dent_x)) / edge


def ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.65).abs() - 0.22


def cross(u: Tensor, v: Tensor) -> Tensor:
    lying = torch.maximum(u.abs() - 0.92, v.abs() - 0.27)
    standing = torch.maximum(v.abs() - 0.92, u.abs() - 0.27)
    return torch.minimum(lying, standing)


def crescent(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(u, v) - 0.9, 0.75 - torch.hypot(u - 0.5, v))


def bar(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs() - 0.95, v.abs() - 0.25)


DISTANCE: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "ring": ring,
    "cross": cross,
    "crescent": crescent,
    "bar": bar,
}
"""For each kind the signed distance to its outline, negative inside. The shape fits in the unit circle, u points
right and v down; both of any shape, the distance of the same."""


class Shapes(Plugin):
    """Draws circles, squares, triangles, stars, rings and crosses: bright shapes on dark grounds.

    Position, size, angle and both colours of each image are random, the ground is a soft gradient, edges are
    anti-aliased. The same seed draws the same images everywhere. Each kind is a class; all have equally many
    images, or one more.

    Source: none; there is nothing to cite.

    When to use: to try a recipe or a trick at once, with nothing to download; to see by eye whether classes
    are kept apart.
    When not: to learn anything about natural images.
    """

    name = "shapes"
    kind = "data"

    class Config(Settings):
        resolution: int = Field(32, ge=8, le=4096, description="height and width in pixels")
        channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
        count: int = Field(6000, ge=1, le=10_000_000, description="images in all")
        kinds: tuple[Kind, ...] = Field(
            ("circle", "square", "triangle", "star", "ring", "cross"),
            min_length=1,
            description="which shapes, one class each; crescent and bar exist too",
        )
        size: tuple[Radius, Radius] = Field(
            (0.5, 0.75), description="smallest and largest radius of the circle around a shape; the image reaches to 1"
        )
        max_angle: float = Field(20.0, ge=0, le=180, description="shapes are turned by up to this, in degrees")
        seed: int = Field(0, ge=0, lt=2**63, description="of the drawing; the run's seed does not change it")

        @field_validator("kinds")
        @classmethod
        def _once_each(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
            if len(set(kinds)) < len(kinds):
                raise ValueError("each kind can be named once")
            return kinds

        @field_validator("size")
        @classmethod
        def _smallest_first(cls, size: tuple[float, float]) -> tuple[float, float]:
            if size[0] > size[1]:
                raise ValueError("the smallest radius comes first")
            return size

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset(c.channels, c.resolution, c.kinds, self.draw_all, self.stream, c.count)

    def draw_all(self) -> tuple[Tensor, Tensor]:
        """(count, channels, resolution, resolution) uint8 and (count,) labels: 0, 1, 2, ..., 0, 1, 2, ..."""
        images, labels = zip(*self.stream(), strict=True)
        return torch.cat(images), torch.cat(labels)

    def stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The same in chunks."""
        c = self.config
        randomness = torch.Generator().manual_seed(c.seed)
        for begin in range(0, c.count, CHUNK):
            labels = torch.arange(begin, min(begin + CHUNK, c.count)) % len(c.kinds)
            sketch = Sketch.drawn(labels, c.size, c.max_angle, randomness)
            for few in sketch.split(max(1, PIXELS // c.resolution**2)):
                images = paint(few, c.kinds, c.resolution)
                yield images if c.channels == 3 else grey(images), few.labels


class Sketch(NamedTuple):
    """What is random about N images. Lengths are such that an image reaches from -1 to 1."""

    labels: Tensor
    """(N,), indices into the kinds."""

    size: Tensor
    """(N, 1, 1), the radius of the circle around the shape."""

    angle: Tensor
    """(N, 1, 1), in radians."""

    right: Tensor
    """(N, 1, 1), of the shape's centre."""

    down: Tensor
    """(N, 1, 1), of the shape's centre."""

    ground: Tensor
    """(N, 3, 1, 1), the ground's colour in the middle of the image."""

    slope: Tensor
    """(N, 2, 1, 1, 1), the ground's change to the right and down."""

    colour: Tensor
    """(N, 3, 1, 1), the shape's."""

    @classmethod
    def drawn(
        cls, labels: Tensor, size_range: tuple[float, float], max_angle: float, randomness: torch.Generator
    ) -> Sketch:
        """
        Args:
            labels: (N,).
            size_range: smallest and largest radius, of 1 at most.
            max_angle: in degrees, either way.
            randomness: on the CPU; what is drawn from it depends on N alone.
        """

        def uniform(low: float, high: float, *more: int) -> Tensor:
            return low + (high - low) * torch.rand(len(labels), *more, generator=randomness)

        size = uniform(*size_range)[:, None, None]
        angle = uniform(-1, 1)[:, None, None] * math.radians(max_angle)
        # Every shape lies wholly inside: its circle of radius `size` touches the border at most.
        right, down = (uniform(-1, 1, 2, 1, 1) * (0.98 - size)[:, None]).unbind(1)
        ground = hsv_to_rgb(uniform(0, 1), uniform(0.2, 0.6), uniform(0.05, 0.25))
        colour = hsv_to_rgb(uniform(0, 1), uniform(0.3, 0.9), uniform(0.8, 1.0))
        slope = uniform(-0.08, 0.08, 2, 1, 1, 1)
        return cls(labels, size, angle, right, down, ground[..., None, None], slope, colour[..., None, None])

    def split(self, count: int) -> Iterator[Sketch]:
        """Sketches of so many images each; the last may have fewer."""
        yield from (Sketch(*some) for some in zip(*(part.split(count) for part in self), strict=True))


def paint(sketch: Sketch, kinds: tuple[Kind, ...], resolution: int) -> Tensor:
    """(N, 3, resolution, resolution) uint8."""
    labels, size, angle, right, down, ground, slope, colour = sketch
    y, x = torch.meshgrid(*[(torch.arange(resolution) + 0.5) / resolution * 2 - 1] * 2, indexing="ij")
    from_left, from_top = x - right, y - down
    u = (from_left * angle.cos() + from_top * angle.sin()) / size
    v = (from_top * angle.cos() - from_left * angle.sin()) / size
    distance = torch.empty_like(u)
    for number, kind in enumerate(kinds):
        own = labels == number
        distance[own] = DISTANCE[kind](u[own], v[own])
    covered = (0.5 - distance * size * resolution / 2).clamp(0, 1)[:, None]
    behind = (ground + slope[:, 0] * x + slope[:, 1] * y).clamp(0, 1)
    picture = covered * colour + (1 - covered) * behind
    return (picture * 255).round().to(torch.uint8)


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Colours (N, 3) in [0, 1] from (N,) each in [0, 1]."""
    sector = (torch.tensor([5.0, 3.0, 1.0]) + hue[:, None] * 6) % 6
    fall = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * fall)


def grey(images: Tensor) -> Tensor:
    """(N, 3, R, R) uint8 to (N, 1, R, R): luminance by ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
