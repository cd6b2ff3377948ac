"""What DCGAN's two networks share: the sides of their maps, the channels, the layers and how they begin."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from gankit import InputError

SLOPE = 0.2
"""Of the discriminator's LeakyReLU below zero (Radford 2015, section 4)."""

DEVIATION = 0.02
"""Of the weights in the beginning (Radford 2015, section 4)."""

SMALLEST = 4
"""Maps are halved until they are no wider than this; images may not be smaller."""

WIDEST = 8
"""Channels are doubled with every halving, up to this many times `width`."""

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def sides(resolution: int) -> list[int]:
    """Of all maps, from the image down: halved, rounding up, until no wider than 4.

    64 to [64, 32, 16, 8, 4] as in the paper, 28 to [28, 14, 7, 4], 100 to [100, 50, 25, 13, 7, 4]. The last is 3 or 4
    whatever the size, and 2 for the smallest one.

    Raises InputError when the image is smaller than 4 pixels.
    """
    if resolution < SMALLEST:
        raise InputError(
            f"images are {resolution} pixels wide; dcgan takes {SMALLEST} and more, and mlp suits points and specks"
        )
    found = [resolution]
    while len(found) < 2 or found[-1] > SMALLEST:
        found.append((found[-1] + 1) // 2)
    return found


def channels_at(level: int, width: int) -> int:
    """Of the map after `level` halvings, 1 or more: `width`, doubled with every further one, up to 8 times it."""
    return width * min(2 ** (level - 1), WIDEST)


def halving(before: int, after: int) -> nn.Conv2d:
    """A convolution of kernel 5 and stride 2 (Radford 2015, figure 1): from side s to s / 2, rounded up."""
    return drawn(nn.Conv2d(before, after, 5, stride=2, padding=2))


def doubling(before: int, after: int, side: int) -> nn.ConvTranspose2d:
    """The transposed convolution that goes back to `side`, even or odd, from half of it, rounded up."""
    return drawn(nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1 - side % 2))


def drawn(layer: Layer) -> Layer:
    """The layer with weights from N(0, 0.02^2) and biases of 0 (Radford 2015, section 4)."""
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
