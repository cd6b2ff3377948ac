"""Sizes and numbers of channels of the feature maps in StyleGAN's networks."""

from __future__ import annotations

from gankit import InputError, Spec

FIRST = 4
"""Side of the smallest feature map, in pixels."""

SMALLEST = 8
"""Smallest side of an image, in pixels."""

CHANNEL_BASE = "channels of a feature map times its side, where max_channels is no limit"
"""Description of the setting `channel_base`."""


def sides_of(spec: Spec, owner: str) -> list[int]:
    """Return the sides of all feature maps, from 4 to the side of the image: powers of two.

    Raises:
        InputError: the images are not square, or their side is not a power of two of at least 8.
    """
    height, width = spec.image_size(owner)
    if height != width or height < SMALLEST or height & (height - 1):
        raise InputError(
            f"images are {height}x{width}, and {owner} needs squares with a power of two as side, {SMALLEST} or more; "
            "set data.resolution to such a side, or use sngan"
        )
    return [2**k for k in range(FIRST.bit_length() - 1, height.bit_length())]


def channels_at(side: int, channel_base: int, max_channels: int) -> int:
    """Return the number of channels of feature maps: channel_base / side, at least 1 and at most max_channels."""
    return max(1, min(channel_base // side, max_channels))
