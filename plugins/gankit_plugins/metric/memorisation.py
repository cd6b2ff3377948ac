"""Metrics of memorisation: generated images that are copies of real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metric.neighbours import nearest, neighbours_in

NEAR_COPY_QUANTILE = 1 - 0.99
"""Quantile of the distances between real images below which a generated image is a near copy."""


def nearest_distances(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """Return the distances of generated images to the nearest real image, and of real ones to the nearest other one."""
    if comparison.real_is_whole_dataset:
        neighbours = neighbours_in(comparison, 1)
        return neighbours.fake_to_real, neighbours.real_to_real
    dataset = comparison.dataset_features.values
    real, fake = comparison.real_features.values, comparison.fake_features.values
    # A real image is in the dataset, so its nearest neighbour is itself.
    return nearest(fake, dataset, 1)[:, 0], nearest(real, dataset, 2)[:, 1]


class Memorisation(Plugin):
    """The distance of generated images to the nearest real ones, compared with distances between real images.

    `nearest_ratio` is the ratio of the median distances: about 1 for new images, far below 1 for copies, far above 1
    for images unlike the real ones. `near_copies` is the proportion of generated images as near to a real image as 1%
    of the real images are to another: about 0.01 for new images, 1 for copies. It also shows a few copies, which do not
    change the medians. Neighbours are searched in the whole dataset.

    Source: Meehan 2020 compares distances to the nearest training image with those of held-out images; here every real
    image is held out in turn.

    When to use: few real images, long training.
    When not: as a proof: an extractor may not distinguish images that differ. With `split = "test"` the training images
    are not compared.
    """

    name = "memorisation"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        fake_to_real, real_to_real = nearest_distances(comparison)
        ratio = fake_to_real.median() / real_to_real.median().clamp(min=torch.finfo(torch.float32).tiny)
        near_copies = (fake_to_real <= real_to_real.quantile(NEAR_COPY_QUANTILE)).double().mean()
        return {"nearest_ratio": ratio.item(), "near_copies": near_copies.item()}
