"""Dataset of drawn shapes with captions, such as "a small red circle on dark green"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Plugin, Settings, TokenCondition, hookimpl
from gankit_plugins.data.shapes import CHUNK, MAX_PIXELS, Hsv, Kind, Sketch, bright_pixels, coverage, paint

SIZES = {"small": (0.32, 0.42), "large": (0.62, 0.75)}
"""Range of the radius of the circle around a shape, by its name. 1 is half an image."""

HUES = {"red": 0.0, "yellow": 1 / 6, "green": 1 / 3, "cyan": 1 / 2, "blue": 2 / 3, "pink": 5 / 6}
"""Hue of each colour by its name, in [0, 1]."""

KINDS: tuple[Kind, ...] = ("circle", "square", "triangle", "star", "ring", "cross")

HUE_RANGE = 0.03
"""Maximum difference of a hue from the hue of its name."""

MASK = "mask"
"""Name of the field with the pixels of the shape."""


BRIGHT, DARK = Hsv((0, 1), (0.7, 0.9), (0.85, 1.0)), Hsv((0, 1), (0.7, 0.9), (0.25, 0.35))
"""Colours of the shapes and of the backgrounds. Their hues depend on their names."""


class Attributes(NamedTuple):
    """Attributes of N shapes, as indices (N,)."""

    size: Tensor  # index into `SIZES`
    colour: Tensor  # index into `HUES`
    kind: Tensor  # index into `KINDS`
    background: Tensor  # index into `HUES`; differs from the colour

    @classmethod
    def random(cls, count: int, generator: torch.Generator) -> Attributes:
        """Draw random attributes of `count` shapes."""

        def index(names: int) -> Tensor:
            return torch.randint(names, (count,), generator=generator)

        colour = index(len(HUES))
        background = (colour + 1 + index(len(HUES) - 1)) % len(HUES)
        return cls(index(len(SIZES)), colour, index(len(KINDS)), background)

    def captions(self) -> list[str]:
        """Return the caption of each shape."""
        sizes, hues = [*SIZES], [*HUES]
        return [
            f"a {sizes[size]} {hues[colour]} {KINDS[kind]} on dark {hues[background]}"
            for size, colour, kind, background in torch.stack(self, 1).tolist()
        ]

    def sketch(self, max_angle: float, generator: torch.Generator) -> Sketch:
        """Draw the other random properties of the images."""
        low, high = torch.tensor([*SIZES.values()])[self.size].T
        hues = torch.tensor([*HUES.values()])

        def near(index: Tensor) -> tuple[Tensor, Tensor]:
            return hues[index] - HUE_RANGE, hues[index] + HUE_RANGE

        return Sketch.random(
            self.kind,
            (low, high),
            max_angle,
            generator,
            BRIGHT._replace(hue=near(self.colour)),
            DARK._replace(hue=near(self.background)),
        )


def nearest_hue(images: Tensor) -> Tensor:
    """Return the index of the nearest hue in `HUES` for each pixel of images (N, 3, H, W) uint8, as (N, H, W)."""
    red, green, blue = images.float().unbind(1)
    hue = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * torch.pi)
    distances = [((hue - one + 0.5) % 1 - 0.5).abs() for one in HUES.values()]
    return torch.stack(distances).argmin(0)


CONDITION = TokenCondition(("a", *SIZES, *HUES, *KINDS, "on", "dark"), length=7)


class CaptionedShapes(Plugin):
    """Images of bright shapes on dark backgrounds, with captions such as "a small red circle on dark green".

    A caption names the size, the colour and the kind of the shape, and the colour of the background, which differs from
    that of the shape. Position and angle of the shape are random. The field `mask` is 1 for the pixels of the shape,
    and 0 for the others. `gankit explain` finds the shape and the colours in generated images. As in the dataset
    `shapes`, the same seed gives the same images on every machine.

    Source: none.

    When to use: for tests of text to image without a download. The metric `caption_words` measures whether the images
    show the words of their captions.
    When not: for conclusions about natural images and sentences.
    """

    name = "captioned_shapes"
    kind = "data"

    class Config(Settings):
        resolution: int = Field(32, ge=8, le=4096, description="height and width in pixels")
        count: int = Field(8000, ge=1, le=10_000_000, description="number of images")
        max_angle: float = Field(20.0, ge=0, le=180, description="largest rotation of a shape, in degrees")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the images; independent of the run's seed")

    config: Config

    @hookimpl
    def find_parts(self, images: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the masks of the shape, and of shapes and backgrounds of each colour, (N, H, W) bool.

        For real images, the shape is the field `mask`. In generated images, it is found by its brightness.
        """
        shape = fields[MASK][:, 0] > 0 if MASK in fields else bright_pixels(images, DARK, BRIGHT)
        hue = nearest_hue(images)
        masks = {"shape": shape}
        for index, name in enumerate(HUES):
            masks[f"{name} shape"] = shape & (hue == index)
            masks[f"{name} background"] = ~shape & (hue == index)
        return masks

    @hookimpl
    def load_data(self) -> Dataset:
        side, count = self.config.resolution, self.config.count
        return Dataset((3, side, side), CONDITION, self.draw_all, self.stream, count, fields=(MASK,))

    def draw_all(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Draw all images. Return images (N, 3, H, W) uint8, tokens (N, 7), and masks (N, 1, H, W) uint8."""
        images, tokens, fields = zip(*self.stream(), strict=True)
        return torch.cat(images), torch.cat(tokens), {MASK: torch.cat([one[MASK] for one in fields])}

    def stream(self) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Yield the images, tokens and masks of `draw_all` in chunks, in the same order."""
        c = self.config
        generator = torch.Generator().manual_seed(c.seed)
        at_a_time = max(1, MAX_PIXELS // c.resolution**2)
        for begin in range(0, c.count, CHUNK):
            attributes = Attributes.random(min(CHUNK, c.count - begin), generator)
            tokens = torch.stack([CONDITION.encode(caption) for caption in attributes.captions()])
            sketch = attributes.sketch(c.max_angle, generator)
            for part, some in zip(sketch.split(at_a_time), tokens.split(at_a_time), strict=True):
                alpha = coverage(part, KINDS, c.resolution)
                yield paint(part, alpha), some, {MASK: (alpha >= 0.5).to(torch.uint8)}
