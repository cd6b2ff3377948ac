"""Distances to nearest neighbours, in chunks."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1024


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances of (N, F) from (M, F): (N, M). In double precision matrix products are exact enough."""
    return torch.cdist(x.double(), y.double())


def kth_nearest(x: Tensor, k: int) -> Tensor:
    """(N,) distances of each of (N, F) points from its k-th nearest among the others."""
    # The nearest of all is the point itself.
    return torch.cat([distances(chunk, x).kthvalue(k + 1, dim=1).values for chunk in x.split(CHUNK)])
