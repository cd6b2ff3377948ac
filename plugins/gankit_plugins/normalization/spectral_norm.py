"""Spectral normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit import Player, Plugin, Run, Settings, hookimpl
from gankit_plugins.layers.weights import LAYERS, TRANSPOSED, as_matrices, trainable_layers

INITIAL_ITERATIONS = 30
"""Number of power iterations when a weight is set. Later, in training, one or a few per forward pass are enough."""

EPS = 1e-12
"""Lower bound for all divisors, so that a weight matrix of zeros stays zero instead of becoming NaN."""


def power_iteration(W: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the first singular vectors of each matrix by one power iteration (Miyato 2018, algorithm 1).

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
    """Parametrisation that divides each group of a layer's weight by its largest singular value."""

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
        """Update the singular vectors, and return the weight unchanged. PyTorch calls this when the weight is set."""
        with torch.no_grad():
            self._update_vectors(self.matrices(weight.detach()), INITIAL_ITERATIONS)
        return weight

    def _update_vectors(self, W: Tensor, iterations: int) -> None:
        for _ in range(iterations):
            u, v = power_iteration(W, self.u)
            # For a matrix of zeros, u would become 0 and would stay 0 for all later matrices, so the old u is kept.
            self.u.copy_(torch.where(u.any(1, keepdim=True), u, self.u))
            self.v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with each group divided by its largest singular value."""
        with torch.autocast(weight.device.type, enabled=False):
            W = self.matrices(weight)
            if self.training:
                with torch.no_grad():
                    self._update_vectors(W, self.iterations)
            # `F.normalize` returns new tensors, which the next forward pass cannot change before the backward pass. It
            # also restores length 1: in the `moving_average` generator, averaged vectors are shorter than 1.
            sigma = singular_value(W, F.normalize(self.u, dim=1), F.normalize(self.v, dim=1)).clamp(min=EPS)
            each = sigma.flatten().repeat_interleave(weight.shape[0] // self.groups)
            return weight / each.reshape(-1, *[1] * (weight.dim() - 1))


class SpectralNorm(Plugin):
    """Spectral norm: division of each layer's weight by its largest singular value.

    Source: Miyato 2018, equation 8 and algorithm 1. The division limits each layer's Lipschitz constant. It applies
    to all trained convolutions, linear layers and embeddings of the player's network, even if they have no other
    normalisation. Layers that tricks add are not normalised, except the embedding of `projection`. In extra networks,
    only the layers that the recipe normalises are. In training, power
    iterations in each forward pass estimate the singular value. While the weights change, the estimate has a small
    error. In per-class networks, the weight of each class has its own singular value.

    When to use: in the discriminator, with `hinge` or cross entropy, to bound D's Lipschitz constant at almost no cost.
    When not: with weight clipping or a strong gradient penalty, which already bound D's Lipschitz constant.
    """

    name = "spectral_norm"
    kind = "normalization"

    class Config(Settings):
        iterations: int = Field(1, ge=1, description="power iterations per forward pass in training")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.wrapped = False

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        # Leave the layers of the network to `wrap_network`, which also reaches layers that were built without a call to
        # this hook. Later calls are those of tricks, for layers that they add to the network.
        return self.normalized(layer) if self.wrapped else layer

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        for layer in trainable_layers(network, (*LAYERS, nn.Embedding)):
            self.normalized(layer)
        self.wrapped = True
        return network

    def normalized(self, layer: nn.Module) -> nn.Module:
        """Normalise the weight of a layer, and return the layer."""
        return parametrize.register_parametrization(layer, "weight", Spectral(layer, self.config.iterations))
