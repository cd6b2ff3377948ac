"""Change of the sample rate of sounds, by a windowed sinc filter."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

ZEROS = 24
"""Number of zero crossings of the filter on each side. More zero crossings give a sharper cutoff."""

BETA = 6.5
"""Shape of the Kaiser window. With this value, the filter attenuates by about 60 dB or more (Kaiser 1974)."""

CUTOFF = 0.925
"""Cutoff of the filter, as a proportion of half of the lower sample rate.

The filter falls from 1 to 0 between about 0.85 and 1.
"""

BLOCK = 1 << 16
"""Number of output samples that are computed at the same time, which limits the memory."""


def resample(samples: Tensor, source: int, target: int, most: int | None = None) -> Tensor:
    """Change the sample rate of a sound. Return (C, L') with L' = ceil(L target / source), or `most` if that is less.

    y(n) = sum over m of x(m) h(n source / target - m), with the filter h of `filter_values`. Outside of the sound, x
    is 0.

    Source: Smith 2002 (Digital Audio Resampling Home Page, bandlimited interpolation).

    Args:
        samples: sound, (C, L).
        source: sample rate of `samples`, in samples per second.
        target: sample rate of the result.
        most: maximum number of samples of the result, or None.
    """
    divisor = math.gcd(source, target)
    source, target = source // divisor, target // divisor
    length = -(-samples.shape[1] * target // source)
    length = length if most is None else min(length, most)
    if source == target:
        return samples[:, :length]
    table = filter_table(source, target)
    reach = table.shape[1] // 2
    padded = pad(samples, (reach, reach))
    taps = torch.arange(1, 2 * reach + 1)
    parts = []
    for n in torch.arange(length).split(BLOCK):
        # Input sample m has the index m + reach in `padded`. The taps are m = floor(n source / target) - reach + 1, ...
        first = (n * source).div(target, rounding_mode="floor")
        parts.append((padded[:, first[:, None] + taps] * table[n % target]).sum(2))
    return torch.cat(parts, 1)


@lru_cache(maxsize=8)
def filter_table(source: int, target: int) -> Tensor:
    """Return the values of the filter, (target, 2 R), for the output samples n = 0, ..., target - 1.

    Entry (n, k) is the weight of the input sample m = floor(n source / target) - R + 1 + k. The two rates have no
    common divisor.
    """
    cutoff = CUTOFF * min(1.0, target / source)
    reach = math.ceil(ZEROS / cutoff)
    fraction = (torch.arange(target) * source % target).double() / target
    distance = fraction[:, None] + reach - 1 - torch.arange(2 * reach).double()
    return filter_values(distance, cutoff).float()


def filter_values(distance: Tensor, cutoff: float) -> Tensor:
    """Return the filter h(t) = c sinc(c t) w(c t / Z) at distances t in input samples; c is the cutoff.

    w is the Kaiser window on [-1, 1], and Z is the number of zero crossings.
    """
    position = (cutoff * distance / ZEROS).clamp(-1, 1)
    window = torch.special.i0(BETA * (1 - position.square()).sqrt()) / torch.special.i0(torch.tensor(BETA)).double()
    return cutoff * torch.sinc(cutoff * distance) * window * ((cutoff * distance).abs() <= ZEROS)
