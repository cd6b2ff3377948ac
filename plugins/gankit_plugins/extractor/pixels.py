"""Feature extractor that returns pixel values."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Dataset, Extractor, Features, Plugin, hookimpl


def pixels(images: Tensor) -> Features:
    """Return images (B, C, H, W), uint8 or floating point in [-1, 1], as features (B, C H W) in [-1, 1]."""
    values = images.flatten(1).float()
    return Features(values / 127.5 - 1 if images.dtype == torch.uint8 else values)


class Pixels(Plugin):
    """Pixel values of images, or coordinates of points, as features.

    Source: none.

    When to use: for points, and for images of a few pixels.
    When not: for larger images, because two images that look similar may differ in every pixel.
    """

    name = "pixels"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset) -> Extractor:
        shape = "x".join(map(str, dataset.shape))
        return Extractor({"extractor": "pixels", "resize": f"none, {shape}"}, pixels)
