"""Mixture of Gaussians of one variable, fitted by expectation maximisation (EM)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

POINTS = 1000
"""Number of quantiles of the data to which a mixture is fitted."""

STEPS = 100
"""Maximum number of EM steps."""

TOLERANCE = 1e-5
"""Increase of the mean log-likelihood below which EM stops."""


class Mixture(NamedTuple):
    """Mixture of K Gaussians: weights that sum to 1, means, and standard deviations, each (K,) float64."""

    weights: Tensor
    means: Tensor
    stds: Tensor


def log_joint(x: Tensor, mixture: Mixture) -> Tensor:
    """Return ln(w_k N(x_n; mu_k, sigma_k)), (N, K), for points x (N,)."""
    weights, means, stds = mixture
    scaled = (x[:, None] - means) / stds
    return weights.log() - stds.log() - 0.5 * math.log(2 * math.pi) - 0.5 * scaled.square()


def em_step(x: Tensor, mixture: Mixture, smallest: float) -> tuple[Mixture, float]:
    """Return the mixture after one EM step, and the mean log-likelihood of x (N,) before the step.

    Standard deviations do not fall below `smallest`.

    Source:
        Bishop 2006, equations 9.23 to 9.27.
    """
    joint = log_joint(x, mixture)
    total = joint.logsumexp(1, keepdim=True)
    posterior = (joint - total).exp()
    counts = posterior.sum(0).clamp(min=1e-9)
    means = posterior.T @ x / counts
    variances = (posterior * (x[:, None] - means).square()).sum(0) / counts
    return Mixture(counts / counts.sum(), means, variances.sqrt().clamp(min=smallest)), total.mean().item()


def run_em(x: Tensor, mixture: Mixture, smallest: float) -> tuple[Mixture, float]:
    """Repeat EM steps until they have converged. Return the mixture, and the mean log-likelihood of x (N,)."""
    likelihood = -math.inf
    for _ in range(STEPS):
        following, reached = em_step(x, mixture, smallest)
        if reached - likelihood < TOLERANCE:
            break
        mixture, likelihood = following, reached
    return mixture, likelihood


def merge_closest(mixture: Mixture) -> Mixture:
    """Return a mixture of K - 1 Gaussians, in which one Gaussian replaces the two that it resembles most.

    The new Gaussian has the weight, the mean and the variance of the two together.

    Source:
        Runnalls 2007, equations 3 and 21: an upper bound of the Kullback-Leibler divergence between both mixtures.
    """
    w, means, variances = mixture.weights, mixture.means, mixture.stds.square()
    both = w[:, None] + w
    part = w[:, None] / both
    variance = part * variances[:, None] + (1 - part) * variances
    variance = variance + part * (1 - part) * (means[:, None] - means).square()
    cost = both * variance.log() - (w * variances.log())[:, None] - w * variances.log()
    i, j = divmod(int((cost + torch.full_like(cost, math.inf).tril()).argmin()), len(w))
    new = (both[i, j], part[i, j] * means[i] + (1 - part[i, j]) * means[j], variance[i, j].sqrt())
    others = [k for k in range(len(w)) if k not in (i, j)]
    return Mixture(*(torch.cat([one[others], n[None]]) for one, n in zip(mixture, new, strict=True)))


def fit_mixture(values: Tensor, most: int, smallest: float) -> Mixture:
    """Fit a mixture of at most K = `most` Gaussians to values (N,) float64, with the number of modes chosen by BIC.

    EM begins with `most` Gaussians at quantiles of the different values, so it needs no random numbers. Then the two
    most similar Gaussians are merged, and EM continues, until one Gaussian is left. The mixture with the lowest
    Bayesian information criterion (BIC) is returned, without modes below 0.5%, in the order of the means. Large data
    are replaced by `POINTS` quantiles, so the time does not depend on N.

    Args:
        values: values (N,), with at least one.
        most: maximum number of modes.
        smallest: lower limit of the standard deviations, above 0.

    Source:
        Schwarz 1978 for the criterion. Xu 2019, section 4.2, uses a variational mixture to choose the number of modes.
    """
    x = values.sort().values
    if len(x) > POINTS:
        x = x[torch.linspace(0, len(x) - 1, POINTS, dtype=torch.float64).round().long()]
    different = x.unique()
    modes = min(most, len(different))
    weights = torch.full((modes,), 1 / modes, dtype=torch.float64)
    spread = torch.full_like(weights, max(x.std(correction=0).item() / modes, smallest))
    means = different.quantile(weights.cumsum(0) - weights / 2)
    mixture, likelihood = run_em(x, Mixture(weights, means, spread), smallest)
    best, lowest = mixture, math.inf
    while True:
        criterion = (3 * len(mixture.means) - 1) * math.log(len(x)) - 2 * len(x) * likelihood
        if criterion < lowest:
            best, lowest = mixture, criterion
        if len(mixture.means) == 1:
            break
        mixture, likelihood = run_em(x, merge_closest(mixture), smallest)
    kept = best.weights >= min(0.005, best.weights.max().item())
    weights, means, stds = (one[kept] for one in best)
    order = means.argsort()
    return Mixture((weights / weights.sum())[order], means[order], stds[order])
