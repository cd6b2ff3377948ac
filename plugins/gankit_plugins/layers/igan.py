"""Layers of IGAN's networks."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from gankit import InputError, Player, Spec

Size = tuple[int, int]
"""Height and width of feature maps."""

LARGEST_START = 16
"""Maximum side, in pixels, of the generator's smallest feature maps, which a linear layer computes from z."""

Upsampling = Literal["transposed", "pixel_shuffle"]

SLOPE = 0.02
"""Negative slope of LeakyReLU (Meng 2021, equation 10)."""


def activated(spec: Spec, player: Player, layer: nn.Module, features: int) -> nn.Sequential:
    """Return `layer`, followed by the recipe's normalisation and LeakyReLU (Meng 2021, figures 4 and 9)."""
    return nn.Sequential(spec.normalize(player, layer, features), nn.LeakyReLU(SLOPE))


def convolution(channels: int, groups: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution with `channels` input channels and `channels` output channels in each group."""
    return nn.Conv2d(channels * groups, channels * groups, 3, padding=1, groups=groups)


def image_layer(spec: Spec, channels: int, normalize: bool, groups: int = 1) -> nn.Sequential:
    """Return G's last layer: a 3x3 convolution to the image's channels, optional normalisation, and tanh."""
    layer: nn.Module = nn.Conv2d(channels * groups, spec.channels * groups, 3, padding=1, groups=groups)
    if normalize:
        layer = spec.normalize("generator", layer, spec.channels * groups)
    return nn.Sequential(layer, nn.Tanh())


def enlargement(channels: int, factor: int, how: Upsampling, groups: int = 1) -> nn.Module:
    """Return a layer that multiplies the sides of feature maps by `factor`, with `channels` channels in each group.

    With `how` = "transposed", the layer is a transposed convolution with kernel size factor + 2. The outputs of
    neighbouring input pixels overlap. With `how` = "pixel_shuffle", the layer is a 3x3 convolution with factor^2 times
    as many output channels, followed by a pixel shuffle (Shi 2016).
    """
    c = channels * groups
    if how == "transposed":
        return nn.ConvTranspose2d(c, c, factor + 2, stride=factor, padding=1, groups=groups)
    return nn.Sequential(nn.Conv2d(c, c * factor**2, 3, padding=1, groups=groups), nn.PixelShuffle(factor))


def single_enlargement(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution whose kernel size and stride are equal to `factor`.

    The outputs of neighbouring input pixels do not overlap. The layer computes the same function as a 1x1 convolution
    followed by PixelShuffle.
    """
    return nn.ConvTranspose2d(channels, channels, factor, stride=factor)


def prime_factors(n: int) -> list[int]:
    """Return the prime factors of `n` in ascending order: [2, 2, 2, 3] for 24, [] for 1."""
    factors, p = [], 2
    while n > 1:
        while n % p == 0:
            factors.append(p)
            n //= p
        p += 1
    return factors


def set_sizes(spec: Spec) -> tuple[Size, Size, int]:
    """Return the sizes of the small and the large set of feature maps that G computes from z, and their ratio.

    The feature maps of the large set have a quarter of the image's height and width. The ratio is the greatest common
    divisor of this height and this width. The sides of the small set are the image's sides divided by the ratio. For
    square images, the small set is 4x4, as in the paper.

    Raises:
        InputError: the height or the width of the images is not a multiple of 4, or a side of the small set would
            exceed 16.
    """
    height, width = spec.image_size("igan")
    for side, name in ((height, "high"), (width, "wide")):
        if side % 4:
            below = side // 4 * 4
            near = f"{below} or {below + 4}" if below else "4"
            raise InputError(f"images are {side} pixels {name}, and igan needs a multiple of 4; resize them to {near}")
    factor = math.gcd(height, width) // 4
    if max(height, width) // factor > LARGEST_START:
        raise InputError(
            f"images are {height}x{width}, and igan enlarges both sides by their common factor of {factor}, which is "
            f"too small; choose sides with a larger common divisor, such as {max(height, width)}x{max(height, width)}"
        )
    return (height // factor, width // factor), (height // 4, width // 4), factor
