"""Interpolation between latent vectors."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SINE = 1e-6
"""Smallest sine of an angle between two vectors for which the arc is computed; below, it is a straight line."""


def lerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """Return the linear interpolation from p, at t = 0, to q, at t = 1. All three are broadcast."""
    return (1 - t) * p + t * q


def slerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """Return the spherical linear interpolation from p, at t = 0, to q, at t = 1.

    Vectors of a normal prior of many dimensions lie near a sphere. The straight line between two of them passes through
    shorter vectors, which the generator was not trained on; the arc stays on the sphere. If p and q are parallel or
    opposite, no single shortest arc exists, and the straight line is used.

    Args:
        p: start, (..., L).
        q: end, (..., L).
        t: position, (..., 1), in [0, 1]. All three are broadcast.

    Source: Shoemake 1985; for latent vectors, White 2016.
    """
    in_p, in_q = q.norm(dim=-1, keepdim=True) * p, p.norm(dim=-1, keepdim=True) * q
    # For small angles, the arccosine loses all digits; this formula does not (Kahan 2006).
    angle = 2 * torch.atan2((in_p - in_q).norm(dim=-1, keepdim=True), (in_p + in_q).norm(dim=-1, keepdim=True))
    arc = ((1 - t) * angle).sin() / angle.sin() * p + (t * angle).sin() / angle.sin() * q
    return torch.where(angle.sin() > MIN_SINE, arc, lerp(p, q, t))


def rows_of_paths(z: Tensor, columns: int, spherical: bool) -> Tensor:
    """Return z with each row replaced by the interpolation from its first to its last vector, in equal steps.

    Args:
        z: (rows * columns, L), row after row.
        columns: vectors in a row.
        spherical: interpolate by `slerp`, otherwise by `lerp`.
    """
    rows = z.double().unflatten(0, (-1, columns))
    t = torch.linspace(0, 1, columns, dtype=torch.float64)[:, None]
    path = (slerp if spherical else lerp)(rows[:, :1], rows[:, -1:], t)
    return path.flatten(0, 1).to(z.dtype)
