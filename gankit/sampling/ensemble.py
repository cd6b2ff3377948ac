"""Ensemble of generators: a network that generates each sample with one of several generators."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

SPREAD = 1000
"""Factor of z before its fractional part is taken. It is large enough that this part is uniform for a smooth prior."""


def uniform_of(z: Tensor) -> Tensor:
    """Return a number in [0, 1) for each latent vector (N, D): the fractional part of 1000 (z_1 + z_D), (N,).

    Equal vectors give equal numbers, on every device and in every batch. For a prior with a smooth density that is wide
    compared with 1/1000, the numbers are uniform and independent of the place of z up to this scale.
    """
    return ((z[:, 0] + z[:, -1]) * SPREAD).remainder(1)


def member_of(z: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the index of the generator of each latent vector (N, D), int64 (N,). Index i has the share `weights[i]`.

    `weights` are not negative, and their sum is 1.
    """
    limits = torch.tensor(list(accumulate(weights))[:-1], dtype=z.dtype, device=z.device)
    return torch.bucketize(uniform_of(z), limits, right=True)


class Ensemble(nn.Module):
    """Mixture of generators. z decides which generator generates a sample, so equal z give equal samples.

    Args:
        members: generators with equal inputs and outputs.
        weights: shares of the generators in the samples. Their sum is 1.
    """

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = tuple(weights)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        chosen = member_of(z, self.weights)
        parts, places = [], []
        for number, member in enumerate(self.members):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                parts.append(member(z[rows], None if condition is None else condition[rows]))
                places.append(rows)
        return torch.cat(parts)[torch.cat(places).argsort()]
