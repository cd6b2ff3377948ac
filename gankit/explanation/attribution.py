"""Attribution of a function of images to the pixels: integrated gradients and occlusion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""Function that maps images (B, C, H, W) to one number for each image, (B,)."""


def integrated_gradients(f: Function, x: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Return the integrated gradients of f at x, (B, C, H, W).

    IG_i(x) = (x_i - x'_i) * integral over alpha in [0, 1] of df/dx_i(x' + alpha (x - x')). The midpoint rule with
    `steps` points approximates the integral. Completeness: the attributions of an image sum to f(x) - f(x'), except
    for the error of the approximation.

    Args:
        f: function with gradients.
        x: images, (B, C, H, W).
        baseline: x', an image that broadcasts to the shape of x.
        steps: number of points on the path from x' to x.

    Source: Sundararajan 2017, equations 1 and 3.
    """
    difference = x - baseline
    total = torch.zeros_like(x)
    for step in range(steps):
        point = (baseline + (step + 0.5) / steps * difference).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(f(point).sum(), point)
        total += gradient
    return difference * total / steps


@torch.no_grad()
def occlusion(f: Function, x: Tensor, fill: Tensor, patch: int, stride: int) -> Tensor:
    """Return the mean decrease of f if a square patch over a pixel is replaced, (B, H, W).

    The value of a pixel is the mean of f(x) - f(x with the patch replaced) over all patches that contain the pixel.

    Args:
        f: function of the images.
        x: images, (B, C, H, W).
        fill: image with the new values of the patch, which broadcasts to the shape of x.
        patch: height and width of the patch, in pixels, at most H and W.
        stride: distance between neighbouring patches, in pixels, at most `patch`.

    Source: Zeiler 2014, section 4.2. The average over overlapping patches is not in the paper.
    """
    before, fill = f(x), fill.expand_as(x)
    decrease, patches = x.new_zeros(x.shape[0], *x.shape[2:]), x.new_zeros(x.shape[2:])
    for top in patch_starts(x.shape[2], patch, stride):
        for left in patch_starts(x.shape[3], patch, stride):
            rows, columns = slice(top, top + patch), slice(left, left + patch)
            occluded = x.clone()
            occluded[:, :, rows, columns] = fill[:, :, rows, columns]
            decrease[:, rows, columns] += (before - f(occluded))[:, None, None]
            patches[rows, columns] += 1
    return decrease / patches


def patch_starts(side: int, patch: int, stride: int) -> list[int]:
    """Return the first pixel of each patch along a side of an image. The last patch ends at the last pixel."""
    last = side - patch
    return [*range(0, last, stride), last]


def attribution_share(values: Tensor, masks: Tensor) -> float:
    """Return the share of the absolute values inside masks. It is 0 if all values are 0.

    Args:
        values: attributions, (B, H, W).
        masks: pixels of a part, (B, H, W) bool.
    """
    total = values.abs().sum().item()
    return (values.abs() * masks).sum().item() / total if total else 0.0
