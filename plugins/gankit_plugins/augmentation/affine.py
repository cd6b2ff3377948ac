"""Affine maps that rotate, scale and shift images, with a separate map for each image of a batch."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

BLACK = -1.0
"""Value of black pixels, for images in [-1, 1]. Black pixels fill the area outside the original image."""


def split_opacity(images: Tensor) -> tuple[Tensor, Tensor]:
    """Split images (B, C, H, W) into colours and opacity, and return both.

    If C is 4, the last channel is the opacity. Otherwise, the opacity has no channels.
    """
    return (images[:, :3], images[:, 3:]) if images.shape[1] == 4 else (images, images[:, :0])


def matrices(rows: list[list[Tensor]]) -> Tensor:
    """Build a batch of matrices (B, 3, 3) from their rows. Each entry of a row is a tensor (B,)."""
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotations(angle: Tensor) -> Tensor:
    """Return maps (B, 3, 3) that rotate images counter-clockwise by angles (B,), in radians."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    # The y axis points down, so the signs of the sines are opposite to those in the usual rotation matrix.
    return matrices([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])


def scalings(x: Tensor, y: Tensor) -> Tensor:
    """Return maps (B, 3, 3) that scale the width by x and the height by y, both (B,).

    A negative factor also mirrors the image.
    """
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrices([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def shifts(right: Tensor, down: Tensor) -> Tensor:
    """Return maps (B, 3, 3) that shift images right and down by distances (B,).

    A distance of 1 is half of the image's height.
    """
    zero, one = torch.zeros_like(right), torch.ones_like(right)
    return matrices([[one, zero, right], [zero, one, down], [zero, zero, one]])


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Apply a separate affine map to each image, with bilinear interpolation.

    Pixels outside the original image become black.

    Args:
        images: (B, C, H, W) in [-1, 1].
        maps: matrices (B, 3, 3). They map the old position of a point to its new position, in homogeneous coordinates.
            An image extends from -1 to 1 in y, which points down, and from -W/H to W/H in x.
    """
    height, width = images.shape[2:]
    if height != width:
        # `affine_grid` expects x from -1 to 1, but in `maps` x extends from -W/H to W/H.
        stretch = torch.ones(3, device=maps.device)
        stretch[0] = width / height
        maps = maps * (stretch[None, :] / stretch[:, None])
    with torch.autocast(images.device.type, enabled=False):
        inverse = torch.linalg.inv_ex(maps.float())[0][:, :2]
        grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
        # On CUDA, the gradient of grid_sample is not deterministic.
        deterministic = images.is_cuda and torch.are_deterministic_algorithms_enabled()
        sample = gather_sample if deterministic else partial(F.grid_sample, align_corners=False)
        # grid_sample and gather_sample pad with 0, but black is -1. Therefore, add 1 to all pixel values before the
        # call, and subtract 1 after it.
        return (sample(images.float() - BLACK, grid) + BLACK).to(images.dtype)


def gather_sample(images: Tensor, grid: Tensor) -> Tensor:
    """Return `F.grid_sample(images, grid, align_corners=False)`, with a deterministic gradient on CUDA.

    Args:
        images: (B, C, H, W).
        grid: positions (B, H', W', 2) in the images, x before y. An image extends from -1 to 1 in both directions.
    """
    B, C, H, W = images.shape
    x, y = (((grid[..., i] + 1) * side - 1) / 2 for i, side in enumerate((W, H)))
    left, top = x.floor(), y.floor()
    flat = images.flatten(2)
    result = torch.zeros(B, C, *grid.shape[1:3], dtype=images.dtype, device=images.device)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
        inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
        index = (row.clamp(0, H - 1) * W + column.clamp(0, W - 1)).long().flatten(1)
        values = flat.gather(2, index[:, None].expand(-1, C, -1)).view_as(result)
        result = result + values * (weight * inside)[:, None]
    return result
