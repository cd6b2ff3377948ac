"""Layers of DCGAN's networks: sizes, channels, convolutions and their initialisation."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from gankit import InputError

SLOPE = 0.2
"""Negative slope of the discriminator's LeakyReLU (Radford 2015, section 4)."""

DEVIATION = 0.02
"""Standard deviation of the initial weights (Radford 2015, section 4)."""

SMALLEST = 4
"""Feature maps are halved until they are at most this wide. It is also the smallest image."""

WIDEST = 8
"""Largest number of channels, as a multiple of `width`. Channels are doubled with every halving."""

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def sides(resolution: int) -> list[int]:
    """Return the sides of all feature maps, from the image down: halved, rounded up, until they are at most 4.

    64 gives [64, 32, 16, 8, 4] as in the paper, 28 gives [28, 14, 7, 4], 100 gives [100, 50, 25, 13, 7, 4]. The
    last side is 3 or 4, and 2 for the smallest image.

    Raises:
        InputError: the image is smaller than 4 pixels.
    """
    if resolution < SMALLEST:
        raise InputError(f"data: images are {resolution} pixels wide, and dcgan needs {SMALLEST} or more; use mlp")
    sizes = [resolution]
    while len(sizes) < 2 or sizes[-1] > SMALLEST:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def channels_at(level: int, width: int) -> int:
    """Return the channels after `level` >= 1 halvings: `width`, doubled with every further one, at most 8 times."""
    return width * min(2 ** (level - 1), WIDEST)


def halving(before: int, after: int) -> nn.Conv2d:
    """Return a convolution of kernel 5 and stride 2 (Radford 2015, figure 1), from side s to s / 2, rounded up."""
    return initialized(nn.Conv2d(before, after, 5, stride=2, padding=2))


def doubling(before: int, after: int, side: int) -> nn.ConvTranspose2d:
    """Return the transposed convolution to `side`, even or odd, from half of it, rounded up."""
    return initialized(nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1 - side % 2))


def initialized(layer: Layer) -> Layer:
    """Return the layer, initialised with weights from N(0, 0.02^2) and biases of 0 (Radford 2015, section 4)."""
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
