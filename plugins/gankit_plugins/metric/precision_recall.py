"""Precision and recall of generated images."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import neighbours_in, real_images_are_copies


class PrecisionRecall(Plugin):
    """Precision: proportion of generated images that look real. Recall: proportion of real images that G covers.

    Source: Kynkaanniemi 2019, equations 1 to 3, with k = 3.

    When to use: to distinguish poor quality from poor variety. The FID combines both in one number.
    When not: with outliers among the real images. Their large nearest-neighbour balls make precision too high; use
    `density_coverage`.
    """

    name = "precision_recall"
    kind = "metric"
    better: ClassVar = {"precision": "higher", "recall": "higher"}

    class Config(Settings):
        k: int = Field(3, ge=1, description="order of the nearest neighbour; below the number of images")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        k = min(self.config.k, len(comparison.real.images) - 1, len(comparison.fake.images) - 1)
        neighbours = neighbours_in(comparison, k)
        if real_images_are_copies(neighbours):
            return None
        # Kynkaanniemi 2019, equations 1 and 2: precision is the proportion of generated images in balls of real images.
        # Recall is the proportion of real images in balls of generated images.
        precision = (neighbours.fake_in_real <= k).double().mean()
        recall = (neighbours.real_in_fake <= k).double().mean()
        return {"precision": precision.item(), "recall": recall.item()}
