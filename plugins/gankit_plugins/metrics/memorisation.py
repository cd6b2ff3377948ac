"""Whether generated images are copies of real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metrics.neighbours import CHUNK, distances, kth_nearest


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """(N,) distances of (N, F) from the nearest of (M, F)."""
    return torch.cat([distances(chunk, y).min(1).values for chunk in x.split(CHUNK)])


class Memorisation(Plugin):
    """How near generated images lie to their nearest real ones, by how near real ones lie to each other.

    Source: the comparison of distances to nearest neighbours of Lopez-Paz 2017, as a ratio of medians. About 1: as far
    from the real images as these are from one another; far below 1: copies, or hardly more than these; far above 1: off
    the real images. Neighbours are looked for among the real images of the comparison, not in the whole dataset.

    When to use: few real images, long training.
    When not: as proof: an extractor may see no difference where there is one.
    """

    name = "memorisation"
    kind = "measure"
    api_version = 2

    @hookimpl
    def measure(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        apart = kth_nearest(real, 1).median().clamp(min=torch.finfo(torch.float32).tiny)
        return {"nearest_ratio": (nearest(fake, real).median() / apart).item()}
