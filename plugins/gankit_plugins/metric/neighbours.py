"""Distances to nearest neighbours in feature space, computed in blocks of limited size. Metrics share the results.

The k-nearest-neighbour ball of an image is centred at its features. Its radius is the distance to the k-th nearest
other image of the same set (real or generated).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gankit import Comparison

BLOCK = 2048
"""Maximum number of rows and columns in a block of the distance matrix. Only one block is in memory at a time."""

DEFAULT_MAX_ORDER = 5
"""Minimum number of nearest neighbours to compute. Metrics with k up to this number share one computation."""


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) between features x (N, F) and y (M, F), in double precision."""
    # `torch.cdist` may use matrix products, whose results are exact enough only in double precision.
    return torch.cdist(x.double(), y.double())


def nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Return the distances (N, k) of each point of x (N, F) to its k nearest points of y (M, F), in ascending order."""
    smallest = []
    for rows in x.split(BLOCK):
        best = torch.empty(len(rows), 0, dtype=torch.float64)
        for columns in y.split(BLOCK):
            best = torch.cat([best, distances(rows, columns)], dim=1)
            best = best.topk(min(k, best.shape[1]), largest=False).values
        smallest.append(best)
    return torch.cat(smallest)


def nearest_others(x: Tensor, k: int) -> Tensor:
    """Return the distances (N, k) of each point of x (N, F) to its k nearest other points of x, in ascending order."""
    # The nearest neighbour of a point in x is the point itself, so remove the first column.
    return nearest(x, x, k + 1)[:, 1:].contiguous()


def smallest_orders(distances: Tensor, radii: Tensor) -> Tensor:
    """Return the smallest k for which the k-nearest-neighbour ball around y_j contains x_i, for each pair (x_i, y_j).

    k is from 1 to K. If no ball contains x_i, the value is K + 1. The result has the shape (I, J).

    Args:
        distances: distances between x_i and y_j, (I, J).
        radii: radii of the k-nearest-neighbour balls around y_j for k = 1 to K, (J, K), in ascending order.
    """
    # A ball around y_j contains x_i if its radius is at least the distance between x_i and y_j.
    return 1 + torch.searchsorted(radii, distances.T.contiguous(), out_int32=True).T


class Neighbours(NamedTuple):
    """Nearest-neighbour statistics of N real and M generated images, from which metrics are computed.

    The radius of an image's ball is the distance to its k-th nearest neighbour of the same kind (real or generated). k
    is from 1 to K. If no k from 1 to K satisfies a field's description, the field contains K + 1.
    """

    fake_in_real: Tensor
    """Smallest k for which the ball of at least one real image contains the generated image.

    One k per generated image, (M,).
    """

    real_in_fake: Tensor
    """Smallest k for which the ball of at least one generated image contains the real image. Shape (N,)."""

    nonempty_order: Tensor
    """Smallest k for which the ball of each real image contains at least one generated image. Shape (N,)."""

    num_pairs: Tensor
    """Number of pairs of a real and a generated image in which the real image's ball contains the generated image.

    One number per k, (K,).
    """

    fake_to_real: Tensor
    """Distance of each generated image to its nearest real image, (M,)."""

    real_to_real: Tensor
    """Distance of each real image to its nearest other real image, (N,)."""


def neighbours(real: Tensor, fake: Tensor, max_order: int) -> Neighbours:
    """Compute the `Neighbours` of real images, with features (N, F), and generated images, with features (M, F).

    The largest k is `min(max_order, N - 1)` for balls of real images, and `min(max_order, M - 1)` for balls of
    generated images.
    """
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
    """Return an iterator of slices that split `count` rows into blocks of at most `BLOCK` rows."""
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def neighbours_in(comparison: Comparison, k: int) -> Neighbours:
    """Return the `Neighbours` of a comparison's images, for balls of 1 to at least k neighbours.

    The result is cached, so metrics share the computation.
    """
    max_order = max(k, DEFAULT_MAX_ORDER)
    real, fake = comparison.real_features.values, comparison.fake_features.values
    return comparison.cached(("neighbours", max_order), lambda: neighbours(real, fake, max_order))


def real_images_are_copies(neighbours: Neighbours) -> bool:
    """Return True if at least half of the real images equal another real image.

    Metrics based on neighbours then have no meaning, because a ball of radius 0 contains no generated image.
    """
    return neighbours.real_to_real.median().item() == 0
