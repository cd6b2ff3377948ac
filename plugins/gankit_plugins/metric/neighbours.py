"""Distances to nearest neighbours. Every distance is computed once for all measures, in blocks of bounded memory.

A ball of order k around an image reaches to its k-th nearest neighbour among images of its own kind, real or generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gankit import Comparison

BLOCK = 2048
"""Rows and columns of distances that are in memory at once."""

USUAL = 5
"""Orders looked at together, so that measures of different k share their distances."""


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances of (N, F) from (M, F): (N, M). In double precision matrix products are exact enough."""
    return torch.cdist(x.double(), y.double())


def nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """(N, k) distances of (N, F) from the k nearest of (M, F), the nearest first."""
    found = []
    for rows in x.split(BLOCK):
        best = torch.empty(len(rows), 0, dtype=torch.float64)
        for columns in y.split(BLOCK):
            best = torch.cat([best, distances(rows, columns)], dim=1)
            best = best.topk(min(k, best.shape[1]), largest=False).values
        found.append(best)
    return torch.cat(found)


def nearest_others(x: Tensor, k: int) -> Tensor:
    """(N, k) distances of each of (N, F) points from the k nearest of the others, the nearest first."""
    # The nearest of all is the point itself.
    return nearest(x, x, k + 1)[:, 1:].contiguous()


def orders(distances: Tensor, radii: Tensor) -> Tensor:
    """(I, J): the smallest order of the ball around each y_j that holds each x_i; K + 1 when none does.

    Args:
        distances: (I, J), of x_i from y_j.
        radii: (J, K), of the balls around y_j, of order 1 first.
    """
    # As many radii as are smaller than the distance belong to balls that end before it.
    return 1 + torch.searchsorted(radii, distances.T.contiguous(), out_int32=True).T


class Neighbours(NamedTuple):
    """How N real and M generated images lie among one another."""

    real_around_fake: Tensor
    """(M,) the smallest order of a real image's ball that holds each generated one."""

    fake_around_real: Tensor
    """(N,) the smallest order of a generated image's ball that holds each real one."""

    met: Tensor
    """(N,) the smallest order at which each real image's ball holds a generated one."""

    held: Tensor
    """(K,) how many pairs there are of a generated image within a real one's ball, by the ball's order, 1 first."""

    near: Tensor
    """(M,) distances of the generated images from their nearest real ones."""

    apart: Tensor
    """(N,) distances of the real images from the nearest other real ones."""


def neighbours(real: Tensor, fake: Tensor, most: int) -> Neighbours:
    """Who lies in whose ball, for balls of orders up to `most`, or to the number of other images.

    Args:
        real: (N, F).
        fake: (M, F).
        most: K.
    """
    N, M = len(real), len(fake)
    real_radii, fake_radii = nearest_others(real, min(most, N - 1)), nearest_others(fake, min(most, M - 1))
    K, L = real_radii.shape[1], fake_radii.shape[1]
    real_around_fake, met, fake_around_real = torch.full((M,), K + 1), torch.full((N,), K + 1), torch.full((N,), L + 1)
    near, pairs = torch.full((M,), torch.inf, dtype=torch.float64), torch.zeros(K + 2, dtype=torch.int64)
    for i in blocks(M):
        for j in blocks(N):
            between = distances(fake[i], real[j])
            near[i] = near[i].minimum(between.amin(1))
            order = orders(between, real_radii[j])
            real_around_fake[i] = real_around_fake[i].minimum(order.amin(1))
            met[j] = met[j].minimum(order.amin(0))
            pairs += order.flatten().bincount(minlength=K + 2)
            fake_around_real[j] = fake_around_real[j].minimum(orders(between.T, fake_radii[i]).amin(1))
    held = pairs[1 : K + 1].cumsum(0)
    return Neighbours(real_around_fake, fake_around_real, met, held, near, real_radii[:, 0])


def blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def neighbours_in(comparison: Comparison, k: int) -> Neighbours:
    """Those of a comparison's features, for orders up to k at least."""
    most = max(k, USUAL)
    real, fake = comparison.real_features.values, comparison.fake_features.values
    return comparison.cached(("neighbours", most), lambda: neighbours(real, fake, most))
