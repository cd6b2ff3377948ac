"""Membership inference: scores of samples, and statistics of an attack that separates members from non-members.

A member is a sample of the training data. A non-member is another sample of the same distribution.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1024
"""Maximum number of rows and columns in a block of the distance matrix."""

QUANTILE_95 = 1.959963984540054
"""Quantile of the standard normal distribution for a two-sided interval of 95%."""


class Auc(NamedTuple):
    """Area under the ROC curve of an attack, with an interval of 95%."""

    value: float
    """Probability that the score of a member is above that of a non-member. Ties count one half. 0.5: no attack."""

    low: float
    high: float


def placements(scores: Tensor, others: Tensor) -> Tensor:
    """Return for each score (N,) the proportion of `others` (M,) below it. Ties count one half. The result is (N,)."""
    others = others.sort().values
    below, not_above = (torch.searchsorted(others, scores, side=side) for side in ("left", "right"))
    return (below + not_above).double() / (2 * len(others))


def auc(members: Tensor, others: Tensor) -> Auc:
    """Return the area under the ROC curve for the scores of members (N,) and of non-members (M,).

    Source:
        The value is the statistic of Mann and Whitney (Hanley and McNeil 1982). The interval is that of DeLong 1988,
        equation 5, for one curve. It has no width if the scores are separated completely.
    """
    V10, V01 = placements(members, others), 1 - placements(others, members)
    value = V10.mean().item()
    variance = V10.var().item() / len(members) + V01.var().item() / len(others)
    margin = QUANTILE_95 * math.sqrt(variance)
    return Auc(value, max(value - margin, 0.0), min(value + margin, 1.0))


def true_positive_rate(members: Tensor, others: Tensor, fpr: float) -> float:
    """Return the proportion of members (N,) above the threshold that at most `fpr` of the non-members (M,) exceed.

    Source:
        Carlini 2022 (Membership Inference Attacks From First Principles), section III: the rate shows whether an
        attack identifies a few members with certainty, which the area under the ROC curve does not show.
    """
    threshold = others.sort(descending=True).values[math.floor(fpr * len(others))]
    return (members > threshold).double().mean().item()


def distances_to_samples(x: Tensor, generated: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M), float64, of x (N, F) to generated samples (M, F)."""
    # Compute in double precision. In float32, equal samples would have a distance above 0 (matrix products).
    blocks = (
        torch.cat([torch.cdist(rows.double(), own.double()) for own in generated.split(BLOCK)], dim=1)
        for rows in x.split(BLOCK)
    )
    return torch.cat(list(blocks))


def monte_carlo_scores(distances: Tensor) -> Tensor:
    """Return the proportion of generated samples near each candidate, (N,), from the distances (N, M).

    A sample is near if its distance is at most the median, over all candidates, of the distance to the nearest sample.

    Source:
        Hilprecht 2019 (Monte Carlo and Reconstruction Membership Inference Attacks against Generative Models),
        equation 5, with the median heuristic.
    """
    radius = distances.amin(1).median()
    return (distances <= radius).double().mean(1)
