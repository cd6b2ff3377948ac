"""Motion of a bright object on a dark background in video clips: position, velocity, and deviation from a line."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = ("right", "down", "left", "up")
"""Names of the directions. Direction k has the angle 90 k degrees, clockwise from the right."""

VELOCITY = ("right", "down")
"""Names of the components of a velocity, in pixels per frame."""

THRESHOLD = 0.5
"""Brightness, from 0 to 1, above which a pixel belongs to the object. The brightness is the largest channel."""


def positions(clips: Tensor) -> Tensor:
    """Return the centre of the bright object in each frame of clips (N, C, T, H, W) in [-1, 1].

    The centre (N, T, 2) is in pixels to the right and down, weighted by the brightness above the threshold. In a frame
    without bright pixels, it is the middle of the frame.
    """
    height, width = clips.shape[3:]
    weights = ((clips.double().amax(1) + 1) / 2 - THRESHOLD).clamp(min=0)
    total = weights.sum((2, 3))
    x, y = (torch.arange(side, dtype=torch.float64, device=clips.device) for side in (width, height))
    sums = torch.stack([(weights.sum(2) * x).sum(2), (weights.sum(3) * y).sum(2)], 2)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64, device=clips.device)
    return torch.where(total[:, :, None] > 0, sums / total[:, :, None].clamp(min=1e-12), middle)


def uniform_motion(path: Tensor) -> tuple[Tensor, Tensor]:
    """Fit uniform motion to paths (N, T, 2) by least squares: position(t) = start + velocity * t.

    Return the velocities (N, 2) per frame, and the root mean square distance (N,) of the path from the fitted motion.
    """
    times = torch.arange(path.shape[1], dtype=path.dtype, device=path.device)
    times = (times - times.mean())[None, :, None]
    centred = path - path.mean(1, keepdim=True)
    velocity = (centred * times).sum(1) / times.square().sum()
    rest = centred - velocity[:, None] * times
    return velocity, rest.square().sum(2).mean(1).sqrt()
