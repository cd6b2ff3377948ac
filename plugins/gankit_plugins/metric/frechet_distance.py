"""Frechet distance between two sets of features. Each set is modelled as a Gaussian."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metric.require_inception import require_inception


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (F,) and the unbiased covariance (F, F) of features (N, F), in double precision."""
    features = features.double()
    return features.mean(0), features.T.cov().view(features.shape[1], features.shape[1])


def frechet_distance(mu_a: Tensor, S_a: Tensor, mu_b: Tensor, S_b: Tensor) -> Tensor:
    """Return the Frechet distance of two Gaussians: `|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))`.

    Source:
        Heusel 2017, equation 6; Dowson and Landau 1982.
    """
    # Use `S_a^(1/2) S_b S_a^(1/2)`, which is symmetric and has the same eigenvalues as `S_a S_b`.
    values, vectors = torch.linalg.eigh(S_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ S_b @ root).clamp(min=0).sqrt().sum()
    return (mu_a - mu_b).square().sum() + S_a.trace() + S_b.trace() - 2 * cross


def frechet_distance_by_svd(a: Tensor, b: Tensor) -> Tensor:
    """Return the Frechet distance between features (N, F) and (M, F), without computing an F x F matrix.

    Let A and B be the centred features divided by sqrt(N - 1) and sqrt(M - 1). The covariances have the product
    `S_a S_b = A^T A B^T B`, with the same nonzero eigenvalues as `A B^T (A B^T)^T`. The trace of `(S_a S_b)^(1/2)` is
    therefore the sum of the singular values of `A B^T`.
    """
    a, b = a.double(), b.double()
    A, B = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    cross = torch.linalg.svdvals(A @ B.T).sum()
    return (a.mean(0) - b.mean(0)).square().sum() + A.square().sum() + B.square().sum() - 2 * cross


def frechet_distance_between(a: Tensor, b: Tensor) -> Tensor:
    """Return the Frechet distance between features (N, F) and (M, F). Use the method that needs the smaller matrices.

    For equal features, rounding errors may make the result slightly negative. The function then returns 0.
    """
    if min(len(a), len(b)) < a.shape[1]:
        distance = frechet_distance_by_svd(a, b)
    else:
        distance = frechet_distance(*mean_and_covariance(a), *mean_and_covariance(b))
    return distance.clamp(min=0)


class FrechetDistance(Plugin):
    """Frechet distance between the features of generated and real images; lower is better.

    Source: Heusel 2017, equation 6. With the extractor `inception`, this distance is the FID. For the same generator,
    the distance decreases as the number of images increases (Chong 2020, section 3). Therefore compare values only for
    equal numbers of images; see docs/metrics.md.

    When to use: to compare with papers, or to get one number for quality and variety together.
    When not: with far fewer images than features. To distinguish poor quality from poor variety, use
    `precision_recall`.
    """

    name = "frechet_distance"
    kind = "metric"
    better: ClassVar = {"frechet_distance": "lower"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        return {self.name: frechet_distance_between(real, fake).item()}


class Fid(FrechetDistance):
    """FID: Frechet distance between the Inception features of generated and real images; lower is better.

    Source: Heusel 2017, equation 6. This metric equals `frechet_distance`, but accepts only the extractor `inception`.

    When to use: to compare with papers.
    When not: with another extractor, or with far fewer images than the 2048 features.
    """

    name = "fid"
    better: ClassVar = {"fid": "lower"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        require_inception(comparison, "fid", "frechet_distance")
        return super().compute_metrics(comparison)
