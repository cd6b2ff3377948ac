"""Sizes of WaveGAN's networks for sounds (Donahue 2019, tables 3 and 4)."""

from __future__ import annotations

from gankit import InputError, Spec

KERNEL, STRIDE, PADDING = 25, 4, 11
"""Length, stride and padding of all filters. A convolution divides the length by 4, a transposed one multiplies it."""

SHORTEST, LONGEST = 4, 64
"""Limits of the length of the shortest feature maps. The paper has 16."""


def levels_of(spec: Spec, name: str) -> tuple[int, int]:
    """Return the number of convolutions and the length of the shortest feature maps, for sounds (C, L).

    The length L is divided by 4 until it is at most 16, or until it is not a multiple of 4.

    Args:
        spec: specification of the sounds.
        name: name of the plugin, for messages.

    Raises:
        InputError: the samples are not sounds, or have an unsuitable length.
    """
    if len(spec.shape) != 2:
        shape = "x".join(map(str, spec.shape))
        raise InputError(
            f"{name} needs sounds, with channels and a length, and a sample of the data has shape {shape}; choose data "
            "such as sounds, or another network"
        )
    length, count = spec.shape[1], 0
    while length % STRIDE == 0 and length > 16:
        length, count = length // STRIDE, count + 1
    if not count or not SHORTEST <= length <= LONGEST:
        raise InputError(
            f"{name}: the sounds have {spec.shape[1]} samples; the length must be 16, or nearly 16, times a power of "
            "4, such as 1024, 4096, 8192 or 16384; set data.length"
        )
    return count, length
