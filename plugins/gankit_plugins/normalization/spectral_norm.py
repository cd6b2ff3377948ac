"""Spectral normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit import Player, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run

SETTLING = 30
"""Iterations of the power method when it begins, from then on a few for each forward pass are enough."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMALIZED = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


EPS = 1e-12
"""What no length is smaller than, so that a matrix of zeros stays one."""


def power_iteration(W: Tensor, u: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """One step towards the first singular vectors of each matrix (Miyato 2018, algorithm 1).

    Args:
        W: (groups, m, n).
        u: (groups, m, 1), the left vectors so far.
        eps: keeps a matrix of zeros from a division by 0.

    Returns:
        The left and the right vectors, (groups, m, 1) and (groups, n, 1), of length 1.
    """
    v = F.normalize(W.transpose(1, 2) @ u, dim=1, eps=eps)
    return F.normalize(W @ v, dim=1, eps=eps), v


def singular_value(W: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """sigma = u^T W v, (groups, 1, 1)."""
    return u.transpose(1, 2) @ W @ v


class Spectral(nn.Module):
    """A weight divided by its largest singular value, group by group.

    Args:
        layer: whose weight it is.
        iterations: of the power method in each forward pass while training.
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
        """(groups, m, n): for each group its output channels against all that they are computed from."""
        if not self.transposed:
            return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        # A transposed convolution's weight is (in, out / groups, ...), the groups lie along the first dimension.
        inputs = weight.shape[0] // self.groups
        by_group = weight.reshape(self.groups, inputs, weight.shape[1], -1)
        return by_group.transpose(1, 2).reshape(self.groups, weight.shape[1], -1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Called when the weight is set, and so at the beginning: the vectors follow it, and it is kept as it is."""
        with torch.no_grad():
            self._follow(self.matrices(weight.detach()), SETTLING)
        return weight

    def _follow(self, W: Tensor, iterations: int) -> None:
        for _ in range(iterations):
            u, v = power_iteration(W, self.u)
            # A matrix of zeros leads nowhere; the next one is followed from where this one was met.
            self.u.copy_(torch.where(u.any(1, keepdim=True), u, self.u))
            self.v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, each group divided by its largest singular value; of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            W = self.matrices(weight)
            if self.training:
                with torch.no_grad():
                    self._follow(W, self.iterations)
            # Copies, since another forward pass may move the vectors before this one's gradient is taken; of length 1,
            # since those of a moving average of networks are averages of vectors that turned, and shorter.
            sigma = singular_value(W, F.normalize(self.u, dim=1), F.normalize(self.v, dim=1)).clamp(min=EPS)
            each = sigma.flatten().repeat_interleave(weight.shape[0] // self.groups)
            return weight / each.reshape(-1, *[1] * (weight.dim() - 1))


class SpectralNorm(Plugin):
    """Divides the weight of every layer by its largest singular value, so that no layer stretches more than 1.

    Source: Miyato 2018, equation 8 and algorithm 1. All convolutions, linear layers and embeddings of the player's
    network are normalised, the last one included, whichever its architecture offers; layers that a trick adds to the
    network are not. The singular value is followed by the power method, one step for each forward pass in training, and
    is right up to how far the weights move meanwhile. Of networks for each class, which lie side by side in one layer,
    each has its own.

    When to use: in the discriminator, with `hinge` or cross entropy: a bounded slope for next to no time.
    When not: beside weight clipping or a strong gradient penalty, which bound the same slope again.
    """

    name = "spectral_norm"
    kind = "normalization"

    class Config(Settings):
        iterations: int = Field(1, ge=1, description="of the power method in each forward pass while training")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        # wrap_network reaches this layer too, and those that the architecture offers nobody.
        return layer

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        for module in list(network.modules()):
            if isinstance(module, NORMALIZED):
                parametrize.register_parametrization(module, "weight", Spectral(module, self.config.iterations))
        return network
