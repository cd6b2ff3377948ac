"""The few layers that IGAN's networks are made of."""

from __future__ import annotations

from typing import Literal

from torch import nn

from gankit import InputError, Player, Spec

Upsampling = Literal["transposed", "pixel_shuffle"]

SLOPE = 0.02
"""Of LeakyReLU below zero (Meng 2021, equation 10)."""


def activated(spec: Spec, player: Player, layer: nn.Module, features: int) -> nn.Sequential:
    """A layer with normalisation and LeakyReLU behind it (Meng 2021, figures 4 and 9)."""
    return nn.Sequential(spec.normalize(player, layer, features), nn.LeakyReLU(SLOPE))


def convolution(channels: int, groups: int = 1) -> nn.Conv2d:
    """Keeps size and number of channels; `channels` is each group's."""
    return nn.Conv2d(channels * groups, channels * groups, 3, padding=1, groups=groups)


def image_layer(spec: Spec, channels: int, normalize: bool, groups: int = 1) -> nn.Sequential:
    """The last layer: a 3x3 convolution to the image's channels, normalised or not, then tanh."""
    layer: nn.Module = nn.Conv2d(channels * groups, spec.channels * groups, 3, padding=1, groups=groups)
    if normalize:
        layer = spec.normalize("generator", layer, spec.channels * groups)
    return nn.Sequential(layer, nn.Tanh())


def enlargement(channels: int, factor: int, how: Upsampling, groups: int = 1) -> nn.Module:
    """Makes a map `factor` times larger and keeps the number of channels, which is each group's.

    A transposed convolution of kernel factor + 2, so that neighbouring outputs overlap by one pixel; or, with
    `pixel_shuffle`, a 3x3 convolution to factor^2 times the channels, laid out in space (Shi 2016).
    """
    c = channels * groups
    if how == "transposed":
        return nn.ConvTranspose2d(c, c, factor + 2, stride=factor, padding=1, groups=groups)
    return nn.Sequential(
        nn.Conv2d(c, c * factor**2, 3, padding=1, groups=groups),
        nn.PixelShuffle(factor),
    )


def single_enlargement(channels: int, factor: int) -> nn.ConvTranspose2d:
    """One step of any factor: a transposed convolution whose kernel is its stride, so that outputs never overlap.

    (It is also what a 1x1 convolution with PixelShuffle would compute.)
    """
    return nn.ConvTranspose2d(channels, channels, factor, stride=factor)


def prime_factors(n: int) -> list[int]:
    """In ascending order: 24 to [2, 2, 2, 3]; 1 to []."""
    factors, p = [], 2
    while n > 1:
        while n % p == 0:
            factors.append(p)
            n //= p
        p += 1
    return factors


def quarter(resolution: int) -> int:
    """The side of IGAN's second map.

    Raises InputError when the resolution is no multiple of 4.
    """
    if resolution % 4:
        below = resolution // 4 * 4
        near = f"{below} or {below + 4}" if below else "4"
        raise InputError(f"images are {resolution} pixels wide; IGAN draws multiples of 4, so resize them to {near}")
    return resolution // 4
