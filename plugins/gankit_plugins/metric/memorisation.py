"""Memorisation metrics, which detect generated images that are copies of real images."""

from __future__ import annotations

from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metric.neighbours import nearest, neighbours_in

NEAR_COPY_QUANTILE = 1 - 0.99
"""Level of the quantile that defines near copies.

The quantile is computed from the distances from each real image to the nearest other real image. A generated image is a
near copy if its distance to the nearest real image is at most this quantile.
"""


def nearest_distances(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """Return the distances to the nearest real image, first for all generated images, then for all real images.

    For a real image, the distance to the nearest other real image is used.
    """
    if comparison.real_is_whole_dataset:
        neighbours = neighbours_in(comparison, 1)
        return neighbours.fake_to_real, neighbours.real_to_real
    dataset = comparison.dataset_features.values
    real, fake = comparison.real_features.values, comparison.fake_features.values
    # The dataset contains the real images, so the nearest neighbour of each real image is the image itself. Use the
    # second nearest neighbour for real images.
    return nearest(fake, dataset, 1)[:, 0], nearest(real, dataset, 2)[:, 1]


class Memorisation(Plugin):
    """Distances from generated images to the nearest real images, compared with distances between real images.

    `nearest_ratio` is the ratio of the median distances. It is about 1 for new images, and far below 1 for copies. For
    images that are unlike the real images, it is far above 1. `near_copies` is the proportion of generated images that
    are very close to a real image. Only 1% of the real images are as close to another real image. `near_copies` is
    about 0.01 for new images, and 1 for copies. `near_copies` also detects a few copies among many new images, although
    these copies hardly change the medians. Neighbours are searched in the whole dataset.

    Source: Meehan 2020 compares the distances of generated images to the nearest training image with the distances of
    held-out images. Here, each real image in turn is the held-out image.

    When to use: with few real images and long training.
    When not: as a proof of copying, because an extractor may give different images the same features. With
    `split = "test"`, generated images are not compared with the training images.
    """

    name = "memorisation"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        fake_to_real, real_to_real = nearest_distances(comparison)
        if not (typical := real_to_real.median()):
            # At least half of the real images are copies of other real images, so the ratio would be infinite or
            # undefined.
            return None
        ratio = fake_to_real.median() / typical
        near_copies = (fake_to_real <= real_to_real.quantile(NEAR_COPY_QUANTILE)).double().mean()
        return {"nearest_ratio": ratio.item(), "near_copies": near_copies.item()}
