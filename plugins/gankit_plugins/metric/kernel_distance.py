"""The distance between two clouds of features by a kernel, without assuming their shape."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x y / F + 1)^3 (Binkowski 2018, equation 3): (N, F) and (M, F) to (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of the squared maximum mean discrepancy (Gretton 2012, equation 3); it may be below 0.

    Args:
        x: (N, F).
        y: (M, F).
    """
    n, m = len(x), len(y)
    xx, yy = polynomial_kernel(x, x), polynomial_kernel(y, y)
    within_x = (xx.sum() - xx.diagonal().sum()) / (n * (n - 1))
    within_y = (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return within_x + within_y - 2 * polynomial_kernel(x, y).mean()


class KernelDistance(Plugin):
    """The squared kernel distance between features of generated and of real images (KID); lower is better.

    Source: Binkowski 2018, section 4: the mean over blocks of features of the unbiased estimate with a cubic kernel.
    Unlike the Frechet distance its expectation does not depend on how many images there are.

    When to use: few images.
    When not: to compare with papers that print the FID alone.
    """

    name = "kernel_distance"
    kind = "metric"

    class Config(Settings):
        block: int = Field(1000, ge=2, description="features in a block, at most; the blocks' estimates are averaged")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values.double(), comparison.fake_features.values.double()
        block = min(self.config.block, len(real), len(fake))
        pairs = zip(real.split(block), fake.split(block), strict=False)
        estimates = [squared_mmd(x, y) for x, y in pairs if len(x) == len(y) == block]
        return {"kernel_distance": torch.stack(estimates).mean().item()}
