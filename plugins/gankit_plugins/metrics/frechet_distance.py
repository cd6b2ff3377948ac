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


class FrechetDistance(Plugin):
    """The Frechet distance between features of generated and of real images; lower is better.

    Source: Heusel 2017, equation 6. With the extractor `inception` it is the FID. It falls with the number of images,
    for the same generator (Chong 2020, section 3), so it compares only at equal counts; docs/measures.md has a curve.

    When to use: the number that papers compare with; sensitive to quality and variety at once.
    When not: fewer images than features by far; to tell poor quality from poor variety (`precision_recall`).
    """

    name = "frechet_distance"
    kind = "measure"
    api_version = 2

    @hookimpl
    def measure(self, comparison: Comparison) -> dict[str, float]:
        real, fake = (mean_and_covariance(f.values) for f in (comparison.real_features, comparison.fake_features))
        return {"frechet_distance": frechet_distance(*real, *fake).item()}
