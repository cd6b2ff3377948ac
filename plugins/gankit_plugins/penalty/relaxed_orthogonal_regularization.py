"""Orthogonal regularisation that does not constrain the lengths of the filters."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit_plugins.penalty.orthogonal_regularization import OrthogonalRegularization


def not_orthogonal(W: Tensor) -> Tensor:
    """Return ||W W^T * (1 - I)||_F^2 for matrices W (groups, m, n), summed to a scalar (Brock 2018, equation 3).

    The product * is elementwise. The rows of W are the filters of a layer. In the paper the filters are columns, and
    the matrix product is W^T W.
    """
    with torch.autocast(W.device.type, enabled=False):
        gram = W @ W.transpose(1, 2)
        return (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))).square().sum()


class RelaxedOrthogonalRegularization(OrthogonalRegularization):
    """Penalty that makes the filters of every layer more orthogonal to each other, independently of their lengths.

    Source: Brock 2018, equation 3, with beta = 0.0001: `orthogonal_regularization` without the diagonal of W W^T. If a
    player has one network per class, the networks are regularised separately.

    When to use: for a generator that will be sampled with truncation. With this penalty, truncation gives good images
    for more generators (Brock 2018).
    When not: if a normalisation of the weights already makes the filters nearly orthogonal.
    """

    name = "relaxed_orthogonal_regularization"
    deviation = staticmethod(not_orthogonal)
