"""Images as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Dataset, Extractor, Features, Plugin, hookimpl


def pixels(images: Tensor) -> Features:
    """(B, C, R, R) uint8, or floating point in [-1, 1], to (B, C R R) in [-1, 1]."""
    values = images.flatten(1).float()
    return Features(values / 127.5 - 1 if images.dtype == torch.uint8 else values)


class Pixels(Plugin):
    """Takes images as features as they are.

    Source: none. For points of the plane there is nothing to extract; the Frechet distance is that of the points.

    When to use: points; images of a few pixels.
    When not: pictures: two that look alike may have no pixel in common.
    """

    name = "pixels"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset) -> Extractor:
        shape = f"{dataset.channels}x{dataset.resolution}x{dataset.resolution}"
        return Extractor({"extractor": "pixels", "resize": f"none, {shape}"}, pixels)
