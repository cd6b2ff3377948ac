"""Parametrisation that divides a layer's weight by its largest singular value (Miyato 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit_plugins.layers.weights import LAYERS, TRANSPOSED, as_matrices, trainable_layers

WITH_WEIGHT = (*LAYERS, nn.Embedding)
"""Classes of layers that spectral norm applies to."""

INITIAL_ITERATIONS = 30
"""Number of power iterations after a weight is assigned. In training, a few iterations per forward pass are enough."""

EPS = 1e-12
"""Lower bound for all divisors, so that a weight matrix of zeros stays zero instead of becoming NaN."""


def power_iteration(W: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the singular vectors of each matrix's largest singular value by one power iteration.

    Source: Miyato 2018, algorithm 1.

    Args:
        W: matrices, (groups, m, n).
        u: current estimates of the left singular vectors, (groups, m, 1).

    Returns:
        The left and the right singular vectors, (groups, m, 1) and (groups, n, 1), of length 1.
    """
    v = F.normalize(W.transpose(1, 2) @ u, dim=1, eps=EPS)
    return F.normalize(W @ v, dim=1, eps=EPS), v


def singular_value(W: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return the largest singular value u^T W v, (groups, 1, 1), of each matrix W with singular vectors u and v."""
    return u.transpose(1, 2) @ W @ v


class Spectral(nn.Module):
    """Parametrisation that divides a layer's weight by the weight's largest singular value.

    For a grouped convolution, each group of the weight is divided by the largest singular value of this group.
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Module, iterations: int) -> None:
        super().__init__()
        self.groups = getattr(layer, "groups", 1)
        self.transposed = isinstance(layer, TRANSPOSED)
        self.iterations = iterations
        assert isinstance(layer.weight, Tensor)
        W = self.matrices(layer.weight.detach())
        self.register_buffer("u", F.normalize(torch.randn(*W.shape[:2], 1, dtype=W.dtype, device=W.device), dim=1))
        self.register_buffer("v", torch.zeros(W.shape[0], W.shape[2], 1, dtype=W.dtype, device=W.device))

    def matrices(self, weight: Tensor) -> Tensor:
        """Return the weight as matrices (groups, m, n), with a row for each output channel."""
        return as_matrices(weight, self.groups, self.transposed)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Update the singular vectors, and return the weight unchanged.

        PyTorch calls this method when a weight is assigned to the layer.
        """
        with torch.no_grad():
            self._update_vectors(self.matrices(weight.detach()), INITIAL_ITERATIONS)
        return weight

    def _update_vectors(self, W: Tensor, iterations: int) -> None:
        for _ in range(iterations):
            u, v = power_iteration(W, self.u)
            # Keep the old u for a matrix of zeros, because u would become 0 and would stay 0 for all later matrices.
            self.u.copy_(torch.where(u.any(1, keepdim=True), u, self.u))
            self.v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, with each group divided by the largest singular value of this group."""
        with torch.autocast(weight.device.type, enabled=False):
            W = self.matrices(weight)
            if self.training:
                with torch.no_grad():
                    self._update_vectors(W, self.iterations)
            # `F.normalize` returns new tensors. The backward pass needs them, because the next forward pass may already
            # have changed `u` and `v`. `F.normalize` also restores length 1, because the trick `moving_average`
            # averages the vectors, which makes them shorter.
            sigma = singular_value(W, F.normalize(self.u, dim=1), F.normalize(self.v, dim=1)).clamp(min=EPS)
            each = sigma.flatten().repeat_interleave(weight.shape[0] // self.groups)
            return weight / each.reshape(-1, *[1] * (weight.dim() - 1))


def has_weight(layer: nn.Module) -> bool:
    """Return whether spectral norm applies to a layer."""
    return isinstance(layer, WITH_WEIGHT)


def normalize_weight(layer: nn.Module, iterations: int) -> nn.Module:
    """Add spectral norm to a layer, with `iterations` power iterations per forward pass, and return the layer."""
    return parametrize.register_parametrization(layer, "weight", Spectral(layer, iterations))


def normalize_weights(network: nn.Module, iterations: int) -> nn.Module:
    """Add spectral norm to a network's convolutions, linear layers and embeddings, and return the network.

    Layers with frozen weights are not changed.
    """
    for layer in trainable_layers(network, WITH_WEIGHT):
        normalize_weight(layer, iterations)
    return network
