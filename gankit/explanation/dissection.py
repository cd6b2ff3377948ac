"""GAN dissection: agreement between feature maps of a generator and parts of its images (Bau 2019).

A unit is a channel of a layer's output. The symbols are those of the paper: r is the feature map of a unit, s the mask
of a part c, t a threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = (*(level / 20 for level in range(1, 20)), 0.975, 0.99, 0.995)
"""Quantile levels of a unit's values that are tried as thresholds."""


def iou(a: Tensor, b: Tensor) -> float:
    """Return the intersection over union of two bool tensors of the same shape. It is 0 if both are empty."""
    union = (a | b).sum().item()
    return (a & b).sum().item() / union if union else 0.0


class Counts(NamedTuple):
    """Numbers of pixels for Q thresholds and C parts, in float64."""

    both: Tensor
    """Pixels above the threshold and inside the part, (Q, C)."""

    above: Tensor
    """Pixels above the threshold, (Q, 1)."""

    inside: Tensor
    """Pixels inside the part, (C,)."""

    total: int
    """Number of all pixels."""

    def iou(self) -> Tensor:
        """Return the intersection over union, (Q, C): IoU = |r > t and s| / |r > t or s|. It is 0 for an empty union.

        Source: Bau 2019, section 3.1.
        """
        return self.both / (self.above + self.inside - self.both).clamp(min=1)

    def information_quality_ratio(self) -> Tensor:
        """Return I(r > t; s) / H(r > t, s), (Q, C): mutual information divided by joint entropy, in [0, 1].

        The ratio is 0 if both are constant.

        Source: Bau 2019, section 3.1. The threshold with the largest ratio is used.
        """
        only_above, only_inside = self.above - self.both, self.inside - self.both
        neither = self.total - self.above - only_inside
        joint = sum(_entropy_term(count / self.total) for count in (self.both, only_above, only_inside, neither))
        marginal = sum(
            _entropy_term(count / self.total)
            for count in (self.above, self.total - self.above, self.inside, self.total - self.inside)
        )
        assert isinstance(joint, Tensor)
        return torch.where(joint > 0, (marginal - joint) / joint.clamp(min=1e-12), 0.0).clamp(0, 1)


def _entropy_term(p: Tensor) -> Tensor:
    """Return -p log p, which is 0 for p = 0."""
    return -torch.xlogy(p, p)


def count_pixels(values: Tensor, thresholds: Tensor, masks: Tensor) -> Counts:
    """Count the pixels above each threshold and inside each part.

    Args:
        values: values r of a unit, (P,).
        thresholds: thresholds t in ascending order, (Q,).
        masks: masks s of the parts, (P, C) bool.
    """
    bins = torch.bucketize(values, thresholds)  # number of thresholds below each value
    kinds, parts = len(thresholds) + 1, masks.shape[1]
    both = torch.zeros(kinds, parts, dtype=torch.float64).index_add_(0, bins, masks.double())
    above = bins.bincount(minlength=kinds).double()[:, None]
    # A value in bin i is above the thresholds 0 to i - 1.
    both, above = (counts.flip(0).cumsum(0).flip(0)[1:] for counts in (both, above))
    return Counts(both, above, masks.sum(0).double(), len(values))


class Agreement(NamedTuple):
    """Agreement of U units with C parts."""

    thresholds: Tensor
    """Threshold of each unit for each part, (U, C)."""

    iou: Tensor
    """Intersection over union on images that were not used to choose the threshold, (U, C)."""


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize feature maps (N, h, w) to the size of the images, (N, H, W), with bilinear interpolation."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def agreement(maps: Tensor, masks: Tensor) -> Agreement:
    """Measure the agreement of units with parts.

    The threshold of a unit for a part has the largest information quality ratio on the first half of the images. The
    IoU is measured on the second half.

    Args:
        maps: feature maps of the units, (N, U, h, w), for at least two images.
        masks: masks of the parts, (N, C, H, W) bool.

    Source: Bau 2019, section 3.1.
    """
    half, size = len(maps) // 2, (masks.shape[2], masks.shape[3])
    pixels = masks.movedim(1, 3).flatten(1, 2)  # (N, H * W, C)
    first, second = pixels[:half].flatten(0, 1), pixels[half:].flatten(0, 1)
    thresholds, found = [], []
    for unit in maps.unbind(1):
        values = upsampled(unit, size).flatten(1)
        levels = quantiles(values[:half].flatten(), LEVELS)
        best = count_pixels(values[:half].flatten(), levels, first).information_quality_ratio().argmax(0)
        measured = count_pixels(values[half:].flatten(), levels, second).iou()
        thresholds.append(levels[best])
        found.append(measured.gather(0, best[None])[0])
    return Agreement(torch.stack(thresholds), torch.stack(found))


def quantiles(values: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Return the quantiles of values (P,) at each level, in ascending order. `torch.quantile` limits P."""
    ordered = values.sort().values
    return ordered[torch.tensor([round(level * (len(values) - 1)) for level in levels])]
