"""The distance between two clouds of features, each taken for a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """mu (F,) and S (F, F), with N - 1, of (N, F) features, in double precision."""
    features = features.double()
    return features.mean(0), features.T.cov().view(features.shape[1], features.shape[1])


def frechet_distance(mu_a: Tensor, S_a: Tensor, mu_b: Tensor, S_b: Tensor) -> Tensor:
    """|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel 2017, equation 6; Dowson and Landau 1982).

    S_a S_b has the eigenvalues of S_a^(1/2) S_b S_a^(1/2), which is symmetric: no square root of a matrix that is not.
    """
    values, vectors = torch.linalg.eigh(S_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ S_b @ root).clamp(min=0).sqrt().sum()
    return (mu_a - mu_b).square().sum() + S_a.trace() + S_b.trace() - 2 * cross


def frechet_distance_of_few(a: Tensor, b: Tensor) -> Tensor:
    """The same of (N, F) and (M, F) features, without a matrix of F x F.

    With A, B the features less their means, by sqrt(N - 1) and sqrt(M - 1), S_a S_b = A^T A B^T B has the eigenvalues
    of A B^T (A B^T)^T but for zeros: the trace of its root is the sum of the singular values of A B^T.
    """
    a, b = a.double(), b.double()
    A, B = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    cross = torch.linalg.svdvals(A @ B.T).sum()
    return (a.mean(0) - b.mean(0)).square().sum() + A.square().sum() + B.square().sum() - 2 * cross


def frechet_distance_between(a: Tensor, b: Tensor) -> Tensor:
    """Of (N, F) and (M, F) features, by way of the smaller matrices."""
    if min(len(a), len(b)) < a.shape[1]:
        return frechet_distance_of_few(a, b)
    return frechet_distance(*mean_and_covariance(a), *mean_and_covariance(b))


class FrechetDistance(Plugin):
    """The Frechet distance between features of generated and of real images; lower is better.

    Source: Heusel 2017, equation 6. With the extractor `inception` it is the FID. It falls with the number of images,
    for the same generator (Chong 2020, section 3), so it compares only at equal counts; docs/metrics.md has a curve.

    When to use: the number that papers compare with; sensitive to quality and variety at once.
    When not: fewer images than features by far; to tell poor quality from poor variety (`precision_recall`).
    """

    name = "frechet_distance"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        return {"frechet_distance": frechet_distance_between(real, fake).item()}
