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


def fit_modes(x: Tensor, modes: int, smallest: float) -> tuple[Mixture, float]:
    """Fit a mixture of K = `modes` Gaussians to x (N,). Return the mixture, and the mean log-likelihood of x.

    EM begins with means at quantiles of the different values of x, so the result needs no random numbers.
    """
    positions = (torch.arange(modes, dtype=torch.float64) + 0.5) / modes
    spread = max(x.std(correction=0).item() / modes, smallest)
    mixture = Mixture(
        torch.full((modes,), 1 / modes, dtype=torch.float64),
        x.unique().quantile(positions),
        torch.full((modes,), spread, dtype=torch.float64),
    )
    likelihood = -math.inf
    for _ in range(STEPS):
        following, new_likelihood = em_step(x, mixture, smallest)
        if new_likelihood - likelihood < TOLERANCE:
            break
        mixture, likelihood = following, new_likelihood
    return mixture, likelihood


def fit_mixture(values: Tensor, most: int, smallest: float) -> Mixture:
    """Fit a mixture of at most K = `most` Gaussians to values (N,) float64, with the number of modes chosen by BIC.

    Modes are added until the Bayesian information criterion (BIC) has not improved twice in succession. Modes with a
    weight below 0.5% are removed. Large data are replaced by `POINTS` quantiles, so the time does not depend on N.

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
    best, lowest, worse = fit_modes(x, 1, smallest)[0], math.inf, 0
    for modes in range(1, min(most, len(x.unique())) + 1):
        mixture, likelihood = fit_modes(x, modes, smallest)
        criterion = (3 * modes - 1) * math.log(len(x)) - 2 * len(x) * likelihood
        if criterion < lowest:
            best, lowest, worse = mixture, criterion, 0
        elif (worse := worse + 1) == 2:
            break
    kept = best.weights >= min(0.005, best.weights.max().item())
    weights, means, stds = (one[kept] for one in best)
    order = means.argsort()
    return Mixture((weights / weights.sum())[order], means[order], stds[order])
