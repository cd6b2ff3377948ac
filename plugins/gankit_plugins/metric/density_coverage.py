"""Density and coverage, which are less sensitive to outliers than precision and recall."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import Neighbours, neighbours_in


def density_and_coverage(neighbours: Neighbours, k: int) -> tuple[Tensor, Tensor]:
    """Return density and coverage.

    Density is the mean number of real images' balls that contain a generated image, divided by k. Coverage is the
    proportion of real images' balls that contain a generated image. The ball of a real image extends to its k-th
    nearest real neighbour.

    Args:
        neighbours: of orders up to k or more.
        k: order of the balls.

    Source:
        Naeem 2020, equations 3 and 4.
    """
    density = neighbours.num_pairs[k - 1].double() / (k * len(neighbours.fake_to_real))
    return density, (neighbours.nonempty_order <= k).double().mean()


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
        density, coverage = density_and_coverage(neighbours_in(comparison, k), k)
        return {"density": density.item(), "coverage": coverage.item()}
