"""Distances to nearest neighbours, computed once for all metrics, in blocks of bounded memory.

The ball of order k of an image extends to its k-th nearest neighbour in its own set, real or generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gankit import Comparison

BLOCK = 2048
"""Number of rows and columns of the distance matrix that are in memory at once."""

DEFAULT_MAX_ORDER = 5
"""Largest order of the usual metrics. They share one computation, so that metrics of different k share distances."""


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) between (N, F) and (M, F), in double precision."""
    # The fast computation by matrix products is exact enough in double precision.
    return torch.cdist(x.double(), y.double())


def nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Return the distances (N, k) of (N, F) to the k nearest of (M, F), in ascending order."""
    smallest = []
    for rows in x.split(BLOCK):
        best = torch.empty(len(rows), 0, dtype=torch.float64)
        for columns in y.split(BLOCK):
            best = torch.cat([best, distances(rows, columns)], dim=1)
            best = best.topk(min(k, best.shape[1]), largest=False).values
        smallest.append(best)
    return torch.cat(smallest)


def nearest_others(x: Tensor, k: int) -> Tensor:
    """Return the distances (N, k) of each of (N, F) points to the k nearest other points, in ascending order."""
    # The nearest point is the point itself.
    return nearest(x, x, k + 1)[:, 1:].contiguous()


def smallest_orders(distances: Tensor, radii: Tensor) -> Tensor:
    """Return (I, J), the smallest order of a ball around y_j that contains x_i; K + 1 if none does.

    Args:
        distances: (I, J), between x_i and y_j.
        radii: (J, K), of the balls around y_j, in ascending order.
    """
    # A ball contains x_i if its radius is not smaller than the distance.
    return 1 + torch.searchsorted(radii, distances.T.contiguous(), out_int32=True).T


class Neighbours(NamedTuple):
    """Neighbourhoods of N real and M generated images. Orders begin with 1 and are K + 1 if there is no such ball."""

    fake_in_real: Tensor
    """(M,), the smallest order of a real image's ball that contains each generated image."""

    real_in_fake: Tensor
    """(N,), the smallest order of a generated image's ball that contains each real image."""

    nonempty_order: Tensor
    """(N,), the smallest order at which each real image's ball contains a generated image."""

    num_pairs: Tensor
    """(K,), the number of pairs of a generated image and a real image's ball that contains it, for each order."""

    fake_to_real: Tensor
    """(M,), the distance of each generated image to its nearest real image."""

    real_to_real: Tensor
    """(N,), the distance of each real image to the nearest other real image."""


def neighbours(real: Tensor, fake: Tensor, max_order: int) -> Neighbours:
    """Compute the neighbourhoods of (N, F) and (M, F) for orders up to `max_order`, or up to all other images."""
    N, M = len(real), len(fake)
    real_radii, fake_radii = nearest_others(real, min(max_order, N - 1)), nearest_others(fake, min(max_order, M - 1))
    K, L = real_radii.shape[1], fake_radii.shape[1]
    fake_in_real, nonempty, real_in_fake = torch.full((M,), K + 1), torch.full((N,), K + 1), torch.full((N,), L + 1)
    fake_to_real, pairs = torch.full((M,), torch.inf, dtype=torch.float64), torch.zeros(K + 2, dtype=torch.int64)
    for i in blocks(M):
        for j in blocks(N):
            between = distances(fake[i], real[j])
            fake_to_real[i] = fake_to_real[i].minimum(between.amin(1))
            order = smallest_orders(between, real_radii[j])
            fake_in_real[i] = fake_in_real[i].minimum(order.amin(1))
            nonempty[j] = nonempty[j].minimum(order.amin(0))
            pairs += order.flatten().bincount(minlength=K + 2)
            real_in_fake[j] = real_in_fake[j].minimum(smallest_orders(between.T, fake_radii[i]).amin(1))
    num_pairs = pairs[1 : K + 1].cumsum(0)
    return Neighbours(fake_in_real, real_in_fake, nonempty, num_pairs, fake_to_real, real_radii[:, 0])


def blocks(count: int) -> Iterator[slice]:
    """Return slices of at most `BLOCK` rows."""
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def neighbours_in(comparison: Comparison, k: int) -> Neighbours:
    """Return the neighbourhoods of a comparison's features for orders up to k, computed once."""
    max_order = max(k, DEFAULT_MAX_ORDER)
    real, fake = comparison.real_features.values, comparison.fake_features.values
    return comparison.cached(("neighbours", max_order), lambda: neighbours(real, fake, max_order))
