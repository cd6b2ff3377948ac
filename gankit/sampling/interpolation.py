"""From one z to another, by the way that its prior leaves likely."""

from __future__ import annotations

import torch
from torch import Tensor

FLAT = 1e-6
"""Angles, in radians, this near to none or to the half circle have no arc to follow in floating point."""


def lerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """The straight line from p, at t = 0, to q, at t = 1. All are broadcast against each other."""
    return (1 - t) * p + t * q


def slerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """The arc around 0 from p, at t = 0, to q, at t = 1 (Shoemake 1985; for z, White 2016).

    The z of a normal prior of many dimensions lie near a sphere; the straight line between two of them leaves it for
    a middle that the generator has never been shown, and the arc stays on it. Where p and q point the same way, or
    exactly against each other so that no arc is nearer than another, it is the straight line.

    Args:
        p, q: (..., L).
        t: (..., 1) in [0, 1]. All three are broadcast against each other.
    """
    in_p, in_q = q.norm(dim=-1, keepdim=True) * p, p.norm(dim=-1, keepdim=True) * q
    # Not by the cosine, which has no digits left for small angles (Kahan 2006).
    angle = 2 * torch.atan2((in_p - in_q).norm(dim=-1, keepdim=True), (in_p + in_q).norm(dim=-1, keepdim=True))
    arc = ((1 - t) * angle).sin() / angle.sin() * p + (t * angle).sin() / angle.sin() * q
    return torch.where(angle.sin() > FLAT, arc, lerp(p, q, t))


def rows_of_paths(z: Tensor, columns: int, spherical: bool) -> Tensor:
    """z with each row's inner ones replaced by the way from its first to its last, in equal steps.

    Args:
        z: (rows * columns, L), row after row.
        columns: z in a row.
        spherical: by `slerp`; otherwise by `lerp`.
    """
    rows = z.double().unflatten(0, (-1, columns))
    t = torch.linspace(0, 1, columns, dtype=torch.float64)[:, None]
    path = (slerp if spherical else lerp)(rows[:, :1], rows[:, -1:], t)
    return path.flatten(0, 1).to(z.dtype)
