"""Affine maps of images: turned, scaled, shifted, mirrored, each image by a map of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLACK = -1.0
"""What lies beyond an image."""


def matrices(rows: list[list[Tensor]]) -> Tensor:
    """(B, 3, 3) from numbers (B,), row by row."""
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotations(angle: Tensor) -> Tensor:
    """(B, 3, 3) for angles (B,) in radians, counter-clockwise as one looks at the picture."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    # y points down, so the signs of the sines are those of the other direction in a plane whose y points up.
    return matrices([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])


def scalings(across: Tensor, down: Tensor) -> Tensor:
    """(B, 3, 3) for factors (B,); above 1 an image grows, below 0 it is mirrored."""
    zero, one = torch.zeros_like(across), torch.ones_like(across)
    return matrices([[across, zero, zero], [zero, down, zero], [zero, zero, one]])


def shifts(right: Tensor, down: Tensor) -> Tensor:
    """(B, 3, 3) for distances (B,), in units of half an image."""
    zero, one = torch.zeros_like(right), torch.ones_like(right)
    return matrices([[one, zero, right], [zero, one, down], [zero, zero, one]])


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Each image as its map moves it, between pixels interpolated linearly, black where it reached to before.

    Args:
        images: (B, C, R, R).
        maps: (B, 3, 3), from where a point is to where it goes; an image reaches from -1 to 1, y points down.

    Returns:
        (B, C, R, R) of the images' own type, with gradients to them.
    """
    with torch.autocast(images.device.type, enabled=False):
        backwards = torch.linalg.inv_ex(maps.float())[0][:, :2]
        grid = F.affine_grid(backwards, list(images.shape), align_corners=False)
        # Zeros are what grid_sample finds beyond an image; there they have to mean black.
        return (F.grid_sample(images.float() - BLACK, grid, align_corners=False) + BLACK).to(images.dtype)
