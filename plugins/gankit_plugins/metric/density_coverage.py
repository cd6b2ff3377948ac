"""Density and coverage, which are less sensitive to outliers than precision and recall."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import neighbours_in, real_images_are_copies


class DensityCoverage(Plugin):
    """Density of real images around generated images, and coverage of real images by generated images.

    Each real image has a ball in feature space. Its radius is the distance to the k-th nearest other real image. For
    each generated image, the balls that contain the image are counted. Density is the mean of these counts, divided by
    k. Density may be above 1. Coverage is the proportion of balls that contain at least one generated image.

    Source: Naeem 2020, equations 3 and 4, with k = 5.

    When to use: in place of `precision_recall` when the real images have outliers.
    When not: to compare with papers that report precision and recall.
    """

    name = "density_coverage"
    kind = "metric"
    better: ClassVar = {"density": "higher", "coverage": "higher"}

    class Config(Settings):
        k: int = Field(5, ge=1, description="order of the nearest neighbour; below the number of real images")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        k = min(self.config.k, len(comparison.real.images) - 1)
        neighbours = neighbours_in(comparison, k)
        if real_images_are_copies(neighbours):
            return None
        # Naeem 2020: density is equation 3, coverage is equation 4.
        density = neighbours.num_pairs[k - 1].double() / (k * len(comparison.fake.images))
        coverage = (neighbours.nonempty_order <= k).double().mean()
        return {"density": density.item(), "coverage": coverage.item()}
