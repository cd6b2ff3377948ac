"""Orthogonal regularisation without the lengths of the filters."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit_plugins.penalty.orthogonal_regularization import OrthogonalRegularization


def not_orthogonal(W: Tensor) -> Tensor:
    """Return ||W W^T * (1 - I)||_F^2, summed over the groups of W (groups, m, n), a scalar (Brock 2018, equation 3).

    The rows of W are the filters of a layer. The paper has filters as columns, and W^T W.
    """
    with torch.autocast(W.device.type, enabled=False):
        gram = W @ W.transpose(1, 2)
        return (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))).square().sum()


class RelaxedOrthogonalRegularization(OrthogonalRegularization):
    """Makes the filters of every layer more orthogonal to each other, without an effect on their lengths.

    Source: Brock 2018, equation 3, with beta = 0.0001: `orthogonal_regularization` without the diagonal. Networks of
    several classes in one layer are regularised separately.

    When to use: a generator for sampling with truncation. With the penalty, more generators suit it (Brock 2018).
    When not: with a normalisation of the weights that already keeps the filters apart.
    """

    name = "relaxed_orthogonal_regularization"
    deviation = staticmethod(not_orthogonal)
