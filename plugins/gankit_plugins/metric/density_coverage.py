"""Density and coverage: precision and recall that outliers do not upset."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import Neighbours, neighbours_in


def density_and_coverage(found: Neighbours, k: int) -> tuple[Tensor, Tensor]:
    """How many of the real images' balls a generated one lies in, by k; and the share of balls that hold one
    (Naeem 2020, equations 3 and 4).

    Args:
        found: of orders up to k or more.
        k: a ball around a real image reaches to its k-th nearest real neighbour.
    """
    return found.held[k - 1].double() / (k * len(found.near)), (found.met <= k).double().mean()


class DensityCoverage(Plugin):
    """Density: how thickly real images lie around the generated ones. Coverage: the share of real ones with one nearby.

    Source: Naeem 2020, equations 3 and 4, with k = 5. Density may exceed 1.

    When to use: as `precision_recall`, with real images that have outliers.
    When not: to compare with papers that print precision and recall.
    """

    name = "density_coverage"
    kind = "metric"

    class Config(Settings):
        k: int = Field(5, ge=1, description="of the nearest neighbours; up to the number of real images less one")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        k = min(self.config.k, len(comparison.real.images) - 1)
        density, coverage = density_and_coverage(neighbours_in(comparison, k), k)
        return {"density": density.item(), "coverage": coverage.item()}
