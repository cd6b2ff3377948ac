"""Equations of AdaGAN: weights of the data for the next generator of a mixture, and the shares of the generators.

In all functions, N is the number of rows of the data, and beta is the share of the next generator in the mixture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def density_ratio(logits: Tensor) -> Tensor:
    """Return h(d) = (1 - d) / d for d = sigmoid(logits), in float64.

    d is the output of a discriminator between the data and the samples of a mixture. If the discriminator is optimal,
    h(d) is the density of the mixture divided by the density of the data. The logits may have any shape.

    Source:
        Tolstikhin 2017, section 3.
    """
    return (-logits.double()).exp()


def weight_level(h: Tensor, beta: float) -> Tensor:
    """Return lambda*, the level for which the weights of `data_weights` sum to 1, as a float64 scalar.

    lambda* solves sum_i max(0, lambda* - (1 - beta) h_i) = N beta. If exactly the r smallest h_i have a positive
    weight, then lambda* = (N beta + (1 - beta) (h_1 + ... + h_r)) / r for sorted h_i.

    Args:
        h: density ratios (N,), 0 or more.
        beta: share of the next generator, in (0, 1].

    Source:
        Tolstikhin 2017, section 3.
    """
    cost = (1 - beta) * h.double().sort().values
    rank = torch.arange(1, len(cost) + 1, dtype=torch.float64, device=cost.device)
    levels = (len(cost) * beta + cost.cumsum(0)) / rank
    # The costs are sorted, so the rows with a positive weight come first. The level exceeds the cost only for these
    # rows.
    positive = int((levels > cost).sum())
    return levels[max(positive, 1) - 1]


def data_weights(h: Tensor, beta: float) -> Tensor:
    """Return the weight of each row of the data for the next generator, (N,) float64. The weights sum to 1.

    w_i = max(0, lambda* - (1 - beta) h_i) / (N beta). If the next generator reproduces the weighted data and gets the
    share beta, the mixture is as close to the data as possible.

    Args:
        h: density ratios (N,) of the mixture and the data, from `density_ratio`.
        beta: share of the next generator, in (0, 1].

    Source:
        Tolstikhin 2017, section 3.
    """
    # Subtracting the same value from all h changes lambda*, but not the weights. The subtraction keeps the weights
    # exact if all h are large.
    shifted = h.double() - h.min()
    weights = (weight_level(shifted, beta) - (1 - beta) * shifted).clamp(min=0) / (len(h) * beta)
    # Normalise the weights, because rounding may change their sum.
    return weights / weights.sum()


def effective_size(weights: Tensor) -> float:
    """Return the effective sample size of weights (N,): N for equal weights, and 1 if only one weight is nonzero.

    Source:
        Kish 1965: (sum of the weights)^2 / (sum of their squares).
    """
    return (weights.sum() ** 2 / weights.square().sum()).item()


def mixture_shares(betas: Sequence[float]) -> list[float]:
    """Return the share of each generator in the mixture. `betas` contains their initial shares.

    When a generator with share beta is added, the shares of all earlier generators are multiplied by 1 - beta. The
    first beta is 1.

    Source:
        Tolstikhin 2017, algorithm 1.
    """
    shares: list[float] = []
    for beta in betas:
        shares = [*(share * (1 - beta) for share in shares), beta]
    return shares


def weighted_rows(weights: Tensor, count: int, seed: int) -> Tensor:
    """Draw `count` row indices with replacement, with probabilities proportional to `weights`. Return them sorted.

    Args:
        weights: weights (N,), 0 or more, with a positive sum.
        count: number of indices.
        seed: random seed, which determines the result.
    """
    cumulative = weights.double().cumsum(0)
    drawn = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * cumulative[-1]
    # `right=True` skips rows with weight 0. `drawn` may be rounded up to the total weight, so limit the index to the
    # last row with a nonzero weight.
    last = int(weights.nonzero()[-1])
    return torch.searchsorted(cumulative, drawn, right=True).clamp(max=last).sort().values
