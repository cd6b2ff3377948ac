"""Precision and recall of generated images: how many look real, and how much of reality they cover."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metrics.neighbours import CHUNK, distances, kth_nearest


def share_within(x: Tensor, y: Tensor, k: int) -> Tensor:
    """The share of x that lies in the manifold of y: in a ball around one of y that reaches to y's k-th neighbour
    (Kynkaanniemi 2019, equations 1 and 2).

    Args:
        x: (N, F).
        y: (M, F), M above k.
        k: of the nearest neighbours.
    """
    radii = kth_nearest(y, k)
    return torch.cat([(distances(chunk, y) <= radii).any(1) for chunk in x.split(CHUNK)]).double().mean()


class PrecisionRecall(Plugin):
    """Precision: the share of generated images that look real. Recall: the share of real ones that G could have drawn.

    Source: Kynkaanniemi 2019, equations 1 to 3, with k = 3.

    When to use: to tell poor images from missing ones, which a distance mixes up.
    When not: with outliers among the real images, whose wide balls make precision too high (`density_coverage`).
    """

    name = "precision_recall"
    kind = "measure"
    api_version = 2

    class Config(Settings):
        k: int = Field(3, ge=1, description="of the nearest neighbours; up to the number of images less one")

    config: Config

    @hookimpl
    def measure(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        k = min(self.config.k, len(real) - 1, len(fake) - 1)
        return {"precision": share_within(fake, real, k).item(), "recall": share_within(real, fake, k).item()}
