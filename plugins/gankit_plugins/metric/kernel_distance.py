"""Kernel distance between two sets of features. The distributions of the features may have any form."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.metric.require_inception import require_inception


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the cubic kernel `(x^T y / F + 1)^3`, (N, M), for all pairs of features x (N, F) and y (M, F).

    Source:
        Binkowski 2018, equation 3.
    """
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate of the squared maximum mean discrepancy between features (N, F) and (M, F).

    The estimate may be negative.

    Source:
        Gretton 2012, equation 3.
    """
    n, m = len(x), len(y)
    xx, yy = polynomial_kernel(x, x), polynomial_kernel(y, y)
    within_x = (xx.sum() - xx.diagonal().sum()) / (n * (n - 1))
    within_y = (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return within_x + within_y - 2 * polynomial_kernel(x, y).mean()


class KernelDistance(Plugin):
    """Squared kernel distance between the features of generated and real images; lower is better.

    Source: Binkowski 2018, section 4: the unbiased estimate with a cubic kernel, averaged over blocks of images. With
    the extractor `inception`, this distance is the KID. Its expectation does not depend on the number of images, unlike
    that of the Frechet distance. For nearly equal distributions, the estimate may be negative. The metric is then 0.

    When to use: with few images.
    When not: to compare with papers that report only the FID.
    """

    name = "kernel_distance"
    kind = "metric"
    better: ClassVar = {"kernel_distance": "lower"}

    class Config(Settings):
        block: int = Field(1000, ge=2, description="largest size of a block of features; the blocks are averaged")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values.double(), comparison.fake_features.values.double()
        block = min(self.config.block, len(real), len(fake))
        pairs = zip(real.split(block), fake.split(block), strict=False)
        estimates = [squared_mmd(x, y) for x, y in pairs if len(x) == len(y) == block]
        return {self.name: max(0.0, torch.stack(estimates).mean().item())}


class Kid(KernelDistance):
    """KID: squared kernel distance between the Inception features of generated and real images; lower is better.

    Source: Binkowski 2018, section 4. This metric equals `kernel_distance`, but accepts only the extractor `inception`.

    When to use: to compare with papers, or with few images.
    When not: with another extractor.
    """

    name = "kid"
    better: ClassVar = {"kid": "lower"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        require_inception(comparison, "kid", "kernel_distance")
        return super().compute_metrics(comparison)
