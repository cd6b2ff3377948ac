"""Precision and recall of generated images: how many look real, and how much of reality they cover."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.neighbours import neighbours_in


def share_within(order: Tensor, k: int) -> Tensor:
    """The share of images that lie in the manifold of others: in a ball of order k around one of these
    (Kynkaanniemi 2019, equations 1 and 2).

    Args:
        order: (N,) the smallest order of a ball that holds each image.
        k: of the nearest neighbours.
    """
    return (order <= k).double().mean()


class PrecisionRecall(Plugin):
    """Precision: the share of generated images that look real. Recall: the share of real ones that G could have drawn.

    Source: Kynkaanniemi 2019, equations 1 to 3, with k = 3.

    When to use: to tell poor images from missing ones, which a distance mixes up.
    When not: with outliers among the real images, whose wide balls make precision too high (`density_coverage`).
    """

    name = "precision_recall"
    kind = "metric"

    class Config(Settings):
        k: int = Field(3, ge=1, description="of the nearest neighbours; up to the number of images less one")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        k = min(self.config.k, len(comparison.real.images) - 1, len(comparison.fake.images) - 1)
        found = neighbours_in(comparison, k)
        precision, recall = share_within(found.real_around_fake, k), share_within(found.fake_around_real, k)
        return {"precision": precision.item(), "recall": recall.item()}
