"""Density and coverage: precision and recall that outliers do not upset."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metrics.neighbours import CHUNK, distances, kth_nearest


def density_and_coverage(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """How many of the real images' balls a generated one lies in, by k; and the share of balls that hold one
    (Naeem 2020, equations 3 and 4).

    Args:
        real: (N, F), N above k.
        fake: (M, F).
        k: a ball around a real image reaches to its k-th nearest real neighbour.
    """
    radii = kth_nearest(real, k)
    inside, covered = torch.zeros((), dtype=torch.float64), torch.zeros(len(real), dtype=torch.bool)
    for chunk in fake.split(CHUNK):
        within = distances(chunk, real) <= radii
        inside += within.double().sum()
        covered |= within.any(0)
    return inside / (k * len(fake)), covered.double().mean()


class DensityCoverage(Plugin):
    """Density: how thickly real images lie around the generated ones. Coverage: the share of real ones with one nearby.

    Source: Naeem 2020, equations 3 and 4, with k = 5. Density may exceed 1.

    When to use: as `precision_recall`, with real images that have outliers.
    When not: to compare with papers that print precision and recall.
    """

    name = "density_coverage"
    kind = "measure"
    api_version = 2

    class Config(Settings):
        k: int = Field(5, ge=1, description="of the nearest neighbours; up to the number of real images less one")

    config: Config

    @hookimpl
    def measure(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        density, coverage = density_and_coverage(real, fake, min(self.config.k, len(real) - 1))
        return {"density": density.item(), "coverage": coverage.item()}
