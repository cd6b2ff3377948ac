"""Closed paths through the latent space, for videos."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.runtime.rng import derived_seed
from gankit.sampling.interpolation import lerp, slerp
from gankit.sampling.sampler import Sampler

DRAWS = 10_000
"""Maximum number of draws of z, until each sample has all its key points."""


def codes(z: Tensor) -> Tensor:
    """Return which numbers of z, (N, L), are exactly 0 or 1, as in the one-hot codes of InfoGAN and MGAN."""
    return (z == 0) | (z == 1)


def key_points(
    sampler: Sampler, condition: Tensor | None, count: int, keys: int, seed: int, truncation: float | None = None
) -> Tensor:
    """Draw z of the key points of each sample's path, (keys, count, L).

    Between two one-hot codes there is no valid code. So all key points of a sample have the same numbers wherever its
    first key point has a 0 or a 1: the codes of a sample are constant, and samples differ in their codes.

    Args:
        sampler: generator and prior.
        condition: condition of each sample, (count, ...), or None.
        count: number of samples.
        keys: number of key points.
        seed: random seed.
        truncation: threshold for z, or None.

    Raises:
        InputError: z of the prior cannot be truncated, or almost all codes of the prior differ.
    """
    first = sampler.latent(count, condition, seed, truncation)
    code = codes(first)
    points = first.expand(keys, *first.shape).clone()
    found = torch.ones(count, dtype=torch.int64)
    for draw in range(DRAWS):
        z = sampler.latent(count, condition, derived_seed(seed, f"key points/{draw}"), truncation)
        rows = ((z == first) | ~code).all(1).logical_and(found < keys).nonzero().flatten()
        points[found[rows], rows] = z[rows]
        found[rows] += 1
        if (found == keys).all():
            return points
    raise InputError("z of the prior has too many different codes for a path between equal ones; use another prior")


def loop_position(points: Tensor, t: float, spherical: bool) -> Tensor:
    """Return z at position t in [0, 1) of closed paths through key points. Position 0 is the first key point.

    The path between two key points is an arc or a line, and the last key point is followed by the first.

    Args:
        points: z of the key points, (keys, count, L).
        t: position. All pieces between two key points have the same length in t.
        spherical: True for `slerp`, False for `lerp`.
    """
    keys = len(points)
    number = int(t * keys)
    p, q = (points[k % keys].double() for k in (number, number + 1))
    part = torch.tensor(t * keys - number, dtype=torch.float64)
    return (slerp if spherical else lerp)(p, q, part).to(points.dtype)
