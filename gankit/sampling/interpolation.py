"""Interpolation between latent vectors."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SINE = 1e-6
"""Threshold of `slerp`: if the sine of the angle between two vectors is smaller, the interpolation is linear."""


def lerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """Return the linear interpolation from p (at t = 0) to q (at t = 1). The shapes of p, q and t are broadcast."""
    return (1 - t) * p + t * q


def slerp(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    """Return the spherical linear interpolation from p (at t = 0) to q (at t = 1).

    Vectors of a normal prior with many dimensions lie near a sphere. A straight line between two such vectors contains
    shorter vectors, on which the generator was not trained. Spherical interpolation follows an arc near the sphere. If
    p and q are parallel or opposite, the interpolation is linear.

    Args:
        p: start vectors, (..., L).
        q: end vectors, (..., L).
        t: positions between p and q, (..., 1), in [0, 1]. The shapes of p, q and t are broadcast.

    Source: Shoemake 1985; for latent vectors, White 2016.
    """
    in_p, in_q = q.norm(dim=-1, keepdim=True) * p, p.norm(dim=-1, keepdim=True) * q
    # The arccosine is inaccurate for small angles. The formula below with atan2 is accurate for all angles (Kahan
    # 2006).
    angle = 2 * torch.atan2((in_p - in_q).norm(dim=-1, keepdim=True), (in_p + in_q).norm(dim=-1, keepdim=True))
    arc = ((1 - t) * angle).sin() / angle.sin() * p + (t * angle).sin() / angle.sin() * q
    return torch.where(angle.sin() > MIN_SINE, arc, lerp(p, q, t))


def rows_of_paths(z: Tensor, columns: int, spherical: bool) -> Tensor:
    """Interpolate between the first and the last latent vector of each row of a grid. Return the new grid.

    Args:
        z: latent vectors of the grid, (rows * columns, L), row by row.
        columns: number of vectors per row.
        spherical: True for `slerp`, False for `lerp`.
    """
    rows = z.double().unflatten(0, (-1, columns))
    t = torch.linspace(0, 1, columns, dtype=torch.float64)[:, None]
    path = (slerp if spherical else lerp)(rows[:, :1], rows[:, -1:], t)
    return path.flatten(0, 1).to(z.dtype)
