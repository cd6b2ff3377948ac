"""Dataset of simple shapes that this module draws, so no files or downloads are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gankit import ClassCondition, Dataset, Plugin, Settings, hookimpl

Radius = Annotated[float, Field(gt=0, le=0.95)]

Kind = Literal["circle", "square", "triangle", "star", "ring", "cross", "crescent", "bar"]

CHUNK = 500
"""Number of images whose random numbers are drawn together. A seed gives other images if this number changes."""

MAX_PIXELS = 1 << 19
"""Approximate maximum number of pixels that are drawn at a time. It limits the memory use at any resolution."""


def circle(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a disc of radius 0.85."""
    return torch.hypot(u, v) - 0.85


def square(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a square that extends from -0.7 to 0.7."""
    return torch.maximum(u.abs(), v.abs()) - 0.7


def triangle(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from an equilateral triangle.

    The corners are on the unit circle. One corner is at the top.
    """
    sloped = math.sqrt(3) / 2 * u.abs() - v / 2
    return torch.maximum(sloped, v) - 0.5


def star(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a five-pointed star.

    The outer corners of the star are on the unit circle. One outer corner is at the top. The inner corners are at
    radius 0.45.
    """
    tenth = math.pi / 5
    angle = torch.remainder(torch.atan2(u, -v) + tenth, 2 * tenth) - tenth
    radius = torch.hypot(u, v)
    x, y = radius * angle.cos(), radius * angle.sin().abs()
    inner_x, inner_y = 0.45 * math.cos(tenth), 0.45 * math.sin(tenth)
    edge = math.hypot(1 - inner_x, inner_y)
    return ((x - 1) * inner_y + y * (1 - inner_x)) / edge


def ring(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a ring with inner radius 0.43 and outer radius 0.87."""
    return (torch.hypot(u, v) - 0.65).abs() - 0.22


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a cross of two bars. Each bar is 1.84 long and 0.54 wide."""
    horizontal = torch.maximum(u.abs() - 0.92, v.abs() - 0.27)
    vertical = torch.maximum(v.abs() - 0.92, u.abs() - 0.27)
    return torch.minimum(horizontal, vertical)


def crescent(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a crescent.

    The crescent is a disc of radius 0.9 around the origin, without the disc of radius 0.75 around (0.5, 0).
    """
    return torch.maximum(torch.hypot(u, v) - 0.9, 0.75 - torch.hypot(u - 0.5, v))


def bar(u: Tensor, v: Tensor) -> Tensor:
    """Return the signed distance of points (u, v) from a horizontal bar that is 1.9 long and 0.5 wide."""
    return torch.maximum(u.abs() - 0.95, v.abs() - 0.25)


DISTANCE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    shape.__name__: shape for shape in (circle, square, triangle, star, ring, cross, crescent, bar)
}
"""Signed distance functions by name of the shape. Each function returns the distance of points (u, v) from the outline.

The distance is negative inside the outline, and approximate near corners. The outline lies inside the unit circle. u
increases to the right, and v increases downwards. u, v and the distance are tensors of the same shape.
"""


Range = tuple[float | Tensor, float | Tensor]
"""Smallest and largest value of a random number, as two numbers, or as two tensors (N,) with the values of each image.
"""


class Hsv(NamedTuple):
    """Ranges of random colours: hue, saturation and value, each in [0, 1]."""

    hue: Range
    saturation: Range
    value: Range


BRIGHT, DARK = Hsv((0, 1), (0.3, 0.9), (0.8, 1.0)), Hsv((0, 1), (0.2, 0.6), (0.05, 0.25))
"""Colours of the shapes and of the backgrounds."""


def bright_pixels(images: Tensor, dark: Hsv, bright: Hsv) -> Tensor:
    """Return the pixels (N, H, W) bool of images (N, C, H, W) uint8 that are nearer to bright than to dark colours.

    The threshold does not depend on the image. An image without a shape has therefore no bright pixels.
    """
    return images.amax(1) > 255 * (dark.value[1] + bright.value[0]) / 2


class Shapes(Plugin):
    """Images of bright shapes, such as circles, squares and stars, on dark backgrounds.

    Position, size and angle of the shape, its colour and the background colour are random. The background is a soft
    gradient, and edges are antialiased. The same seed gives the same images on every machine. Each kind of shape is a
    class. The numbers of images in any two classes differ by at most one.

    Source: none.

    When to use: for tests of a recipe or a trick without a download, and for visual checks of class-conditional
    generation.
    When not: for conclusions about natural images.
    """

    name = "shapes"
    kind = "data"

    class Config(Settings):
        resolution: int = Field(32, ge=8, le=4096, description="height and width in pixels")
        channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
        count: int = Field(6000, ge=1, le=10_000_000, description="number of images")
        kinds: tuple[Kind, ...] = Field(
            ("circle", "square", "triangle", "star", "ring", "cross"),
            min_length=1,
            description="shapes, one class each; crescent and bar are available too",
        )
        size: tuple[Radius, Radius] = Field(
            (0.5, 0.75),
            description="smallest and largest radius of the circle around a shape; 1 is half an image",
        )
        max_angle: float = Field(20.0, ge=0, le=180, description="largest rotation of a shape, in degrees")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the images; independent of the run's seed")

        @field_validator("kinds")
        @classmethod
        def _once_each(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
            if len(set(kinds)) < len(kinds):
                raise ValueError("each kind may be listed once")
            return kinds

        @field_validator("size")
        @classmethod
        def _smallest_first(cls, size: tuple[float, float]) -> tuple[float, float]:
            if size[0] > size[1]:
                raise ValueError("the first radius must not exceed the second one")
            return size

    config: Config

    @hookimpl
    def find_parts(self, images: Tensor) -> dict[str, Tensor] | None:
        """Return the mask of the shape, (N, H, W) bool. Grey images have no threshold between shape and background."""
        return {"shape": bright_pixels(images, DARK, BRIGHT)} if self.config.channels == 3 else None

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset(
            (c.channels, c.resolution, c.resolution), ClassCondition(c.kinds), self.draw_all, self.stream, c.count
        )

    def draw_all(self) -> tuple[Tensor, Tensor]:
        """Draw all images. Return images (count, channels, resolution, resolution) uint8 and labels (count,).

        The labels repeat 0, 1, ..., K - 1 for K classes.
        """
        images, labels = zip(*self.stream(), strict=True)
        return torch.cat(images), torch.cat(labels)

    def stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of `draw_all` in chunks, in the same order."""
        c = self.config
        generator = torch.Generator().manual_seed(c.seed)
        for begin in range(0, c.count, CHUNK):
            labels = torch.arange(begin, min(begin + CHUNK, c.count)) % len(c.kinds)
            sketch = Sketch.random(labels, c.size, c.max_angle, generator)
            for part in sketch.split(max(1, MAX_PIXELS // c.resolution**2)):
                images = paint(part, coverage(part, c.kinds, c.resolution))
                yield images if c.channels == 3 else grey(images), part.labels


class Sketch(NamedTuple):
    """Random properties of N images. The coordinates x and y of an image extend from -1 to 1, and y points down.

    RGB values are from 0 to 1.
    """

    labels: Tensor  # (N,), indices into the tuple of kinds of shapes
    size: Tensor  # (N, 1, 1), radius of the circle around the shape
    angle: Tensor  # (N, 1, 1), rotation of the shape, in radians
    x: Tensor  # (N, 1, 1), x of the shape's centre
    y: Tensor  # (N, 1, 1), y of the shape's centre
    background: Tensor  # (N, 3, 1, 1), RGB colour of the background at the image's centre
    slope: Tensor  # (N, 2, 1, 1, 1), change of the background's RGB values per unit of x and of y
    colour: Tensor  # (N, 3, 1, 1), RGB colour of the shape

    @classmethod
    def random(
        cls,
        labels: Tensor,
        size_range: Range,
        max_angle: float,
        generator: torch.Generator,
        colours: Hsv = BRIGHT,
        backgrounds: Hsv = DARK,
    ) -> Sketch:
        """Draw random properties for images with labels (N,). The number of random draws depends only on N."""

        def uniform(low: float | Tensor, high: float | Tensor, *more: int) -> Tensor:
            return low + (high - low) * torch.rand(len(labels), *more, generator=generator)

        size = uniform(*size_range)[:, None, None]
        angle = uniform(-1, 1)[:, None, None] * math.radians(max_angle)
        # Draw the centre such that the circle of radius `size` around the shape lies inside the image.
        x, y = (uniform(-1, 1, 2, 1, 1) * (0.98 - size)[:, None]).unbind(1)
        background = hsv_to_rgb(*(uniform(*one) for one in backgrounds))
        colour = hsv_to_rgb(*(uniform(*one) for one in colours))
        slope = uniform(-0.08, 0.08, 2, 1, 1, 1)
        return cls(labels, size, angle, x, y, background[..., None, None], slope, colour[..., None, None])

    def split(self, count: int) -> Iterator[Sketch]:
        """Split the properties into sketches of `count` images each. The last sketch may have fewer images."""
        yield from (Sketch(*parts) for parts in zip(*(field.split(count) for field in self), strict=True))


def coverage(sketch: Sketch, kinds: tuple[Kind, ...], resolution: int) -> Tensor:
    """Return the share of each pixel that the shape covers, (N, 1, resolution, resolution), from 0 to 1."""
    labels, size, angle, centre_x, centre_y, *_ = sketch
    y, x = coordinates(resolution)
    dx, dy = x - centre_x, y - centre_y
    u = (dx * angle.cos() + dy * angle.sin()) / size
    v = (dy * angle.cos() - dx * angle.sin()) / size
    distance = torch.empty_like(u)
    for label, kind in enumerate(kinds):
        own = labels == label
        distance[own] = DISTANCE[kind](u[own], v[own])
    return (0.5 - distance * size * resolution / 2).clamp(0, 1)[:, None]


def paint(sketch: Sketch, alpha: Tensor) -> Tensor:
    """Draw RGB images (N, 3, H, W) uint8 from their random properties and the coverage (N, 1, H, W) of their pixels."""
    y, x = coordinates(alpha.shape[-1])
    behind = (sketch.background + sketch.slope[:, 0] * x + sketch.slope[:, 1] * y).clamp(0, 1)
    images = alpha * sketch.colour + (1 - alpha) * behind
    return (images * 255).round().to(torch.uint8)


def coordinates(resolution: int) -> tuple[Tensor, Tensor]:
    """Return y and x of the centres of the pixels, (resolution, resolution) each, from -1 to 1."""
    y, x = torch.meshgrid(*[(torch.arange(resolution) + 0.5) / resolution * 2 - 1] * 2, indexing="ij")
    return y, x


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return the RGB colours (N, 3) for hues, saturations and values (N,). All numbers are in [0, 1]."""
    sector = (torch.tensor([5.0, 3.0, 1.0]) + hue[:, None] * 6) % 6
    fall = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * fall)


def grey(images: Tensor) -> Tensor:
    """Convert RGB images (N, 3, H, W) uint8 to grey, (N, 1, H, W) uint8, with the luma weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
