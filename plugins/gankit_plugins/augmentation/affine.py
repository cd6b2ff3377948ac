"""Affine maps of images: rotation, scaling, shift, one map for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLACK = -1.0
"""Brightness of the area outside of an image."""


def matrices(rows: list[list[Tensor]]) -> Tensor:
    """Return (B, 3, 3) matrices from entries (B,), row by row."""
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotations(angle: Tensor) -> Tensor:
    """Return (B, 3, 3) rotations by angles (B,) in radians, counter-clockwise on the screen."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    # y points down, so the sines have the opposite signs of the usual rotation matrix.
    return matrices([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])


def scalings(x: Tensor, y: Tensor) -> Tensor:
    """Return (B, 3, 3) scalings by factors (B,) in both directions. Negative factors flip an image."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrices([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def shifts(right: Tensor, down: Tensor) -> Tensor:
    """Return (B, 3, 3) shifts by distances (B,), in units of half an image."""
    zero, one = torch.zeros_like(right), torch.ones_like(right)
    return matrices([[one, zero, right], [zero, one, down], [zero, zero, one]])


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Apply an affine map to each image, with bilinear interpolation. The area outside of the image is black.

    Args:
        images: (B, C, R, R).
        maps: (B, 3, 3), from old to new coordinates. An image extends from -1 to 1, and y points down.
    """
    with torch.autocast(images.device.type, enabled=False):
        inverse = torch.linalg.inv_ex(maps.float())[0][:, :2]
        grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
        # grid_sample returns zeros outside of an image, so black is moved to 0 and back.
        return (F.grid_sample(images.float() - BLACK, grid, align_corners=False) + BLACK).to(images.dtype)
