"""Precision and recall of generated images."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import neighbours_in


def proportion_within(order: Tensor, k: int) -> Tensor:
    """Return the proportion of images in the manifold of the other set: in a ball of order k of one of its images.

    Args:
        order: (N,), the smallest order of a ball that contains each image.
        k: order of the balls.

    Source:
        Kynkaanniemi 2019, equations 1 and 2.
    """
    return (order <= k).double().mean()


class PrecisionRecall(Plugin):
    """Precision, the proportion of generated images that look real, and recall, of real images that G covers.

    Source: Kynkaanniemi 2019, equations 1 to 3, with k = 3.

    When to use: to distinguish poor quality from poor variety, which a distance combines.
    When not: outliers among the real images; their large balls make precision too high (`density_coverage`).
    """

    name = "precision_recall"
    kind = "metric"

    class Config(Settings):
        k: int = Field(3, ge=1, description="order of the nearest neighbour; below the number of images")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        k = min(self.config.k, len(comparison.real.images) - 1, len(comparison.fake.images) - 1)
        neighbours = neighbours_in(comparison, k)
        precision = proportion_within(neighbours.fake_in_real, k)
        recall = proportion_within(neighbours.real_in_fake, k)
        return {"precision": precision.item(), "recall": recall.item()}
