"""Layers of DCGAN's networks: sizes, channels, convolutions and their initialisation."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from gankit import InputError, Spec

SLOPE = 0.2
"""Negative slope of the discriminator's LeakyReLU (Radford 2015, section 4)."""

DEVIATION = 0.02
"""Standard deviation of the initial weights (Radford 2015, section 4)."""

SMALLEST = 4
"""Maximum length, in pixels, of the smaller side of D's last feature map and of G's first feature map.

The height and the width of an image must be at least this number.
"""

WIDEST = 8
"""Maximum number of channels, as a multiple of the setting `width`.

Each downsampling doubles the number of channels, up to this limit.
"""

Size = tuple[int, int]
"""Height and width in pixels."""

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def sizes_of(spec: Spec) -> list[Size]:
    """Return the sizes of all feature maps, starting with the image. Each size is half of the previous one, rounded up.

    For 64x64 images, the sides are 64, 32, 16, 8 and 4, as in the paper. For 28x28, the sides are 28, 14, 7 and 4. The
    smaller side of the last feature map has 3 or 4 pixels. For images whose smaller side has 4 pixels, it has 2 pixels.

    Raises:
        InputError: a side of the image is below 4.
    """
    sizes = [spec.image_size("dcgan")]
    if (smaller := min(sizes[0])) < SMALLEST:
        raise InputError(f"images are {smaller} pixels wide or high, and dcgan needs {SMALLEST} or more; use mlp")
    while len(sizes) < 2 or min(sizes[-1]) > SMALLEST:
        sizes.append(half(sizes[-1]))
    return sizes


def half(size: Size) -> Size:
    """Return half of a height and width, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def channels_at(level: int, width: int) -> int:
    """Return the number of channels after `level` >= 1 downsamplings: width * 2^(level - 1), at most 8 * width."""
    return width * min(2 ** (level - 1), WIDEST)


def halving(before: int, after: int) -> nn.Conv2d:
    """Return a 5x5 convolution with stride 2. It halves height and width, rounding up (Radford 2015, figure 1)."""
    return initialized(nn.Conv2d(before, after, 5, stride=2, padding=2))


def doubling(before: int, after: int, size: Size) -> nn.ConvTranspose2d:
    """Return a 5x5 transposed convolution with stride 2 and output size `size`.

    The input has half of this height and width, rounded up.
    """
    height, width = size
    odd = (1 - height % 2, 1 - width % 2)
    return initialized(nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=odd))


def initialized(layer: Layer) -> Layer:
    """Initialise a layer with weights from N(0, 0.02^2) and biases of 0 (Radford 2015, section 4), and return it."""
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
