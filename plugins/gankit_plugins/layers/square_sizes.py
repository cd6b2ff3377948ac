"""Sizes and numbers of channels of square feature maps, from 4x4 to the image (PGGAN, StyleGAN)."""

from __future__ import annotations

from gankit import InputError, Spec

FIRST = 4
"""Side of the smallest feature map, in pixels."""

CHANNEL_BASE = "channels of a feature map times its side, where max_channels is no limit"
"""Text that describes the setting `channel_base` in several plugins."""


def sides_of(spec: Spec, owner: str) -> list[int]:
    """Return the sides of all feature maps, from 4 to the side of the image: powers of two.

    Args:
        spec: specification of the images.
        owner: name of the plugin, for error messages.

    Raises:
        InputError: the data are not images, the images are not square, or their side is not a power of two of at least
            4.
    """
    height, width = spec.image_size(owner)
    if height != width or height < FIRST or height & (height - 1):
        raise InputError(
            f"{owner} needs square images with a side of 4, 8, 16, 32 or another power of two, and these have "
            f"{height}x{width} pixels; change data.resolution, or use sngan"
        )
    return [2**k for k in range(FIRST.bit_length() - 1, height.bit_length())]


def channels_at(side: int, channel_base: int, max_channels: int) -> int:
    """Return the number of channels of feature maps: `channel_base / side`, at least 1 and at most `max_channels`."""
    return max(1, min(channel_base // side, max_channels))
