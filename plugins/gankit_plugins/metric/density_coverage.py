"""Density and coverage, which are less sensitive to outliers than precision and recall."""

from __future__ import annotations

from pydantic import Field

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import neighbours_in


class DensityCoverage(Plugin):
    """Density of real images around the generated ones, and coverage of the real images by generated ones.

    Source: Naeem 2020, equations 3 and 4, with k = 5. Density may be above 1.

    When to use: in place of `precision_recall` when the real images have outliers.
    When not: to compare with papers that report precision and recall.
    """

    name = "density_coverage"
    kind = "metric"

    class Config(Settings):
        k: int = Field(5, ge=1, description="order of the nearest neighbour; below the number of real images")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        k = min(self.config.k, len(comparison.real.images) - 1)
        neighbours = neighbours_in(comparison, k)
        # The ball of a real image extends to its k-th nearest real neighbour. Density is the mean number of balls that
        # contain a generated image, divided by k (equation 3). Coverage is the proportion of balls that contain one.
        density = neighbours.num_pairs[k - 1].double() / (k * len(comparison.fake.images))
        coverage = (neighbours.nonempty_order <= k).double().mean()
        return {"density": density.item(), "coverage": coverage.item()}
