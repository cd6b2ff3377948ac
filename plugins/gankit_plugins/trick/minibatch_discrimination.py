"""Minibatch discrimination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Player, Plugin, Settings, hookimpl
from gankit_plugins.trick.feature_head import Widened, feature_count, same_class

if TYPE_CHECKING:
    from gankit import Run


def closeness(M: Tensor, compared: Tensor | None) -> Tensor:
    """o_i = sum over j other than i of exp(-||M_i - M_j||_1), for each kernel (Salimans 2016, section 3.2).

    Args:
        M: (B, kernels, dims).
        compared: (B, B) bool, which j count for which i; i itself never does. None: all.

    Returns:
        (B, kernels), in float32 at least.
    """
    M = M.to(torch.promote_types(M.dtype, torch.float32))
    distance = (M[:, None] - M[None]).abs().sum(-1)
    others = ~torch.eye(len(M), dtype=torch.bool, device=M.device)
    if compared is not None:
        others = others & compared
    return (torch.exp(-distance) * others[..., None]).sum(1)


class Closeness(nn.Module):
    """Features to how close each image is to the others of its batch: (B, F) to (B, kernels)."""

    def __init__(self, features: int, kernels: int, dims: int, by_class: bool) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, dims) / features**0.5)
        self.by_class = by_class

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        M = torch.einsum("ba,akd->bkd", features, self.T.to(features.dtype))
        return closeness(M, same_class(labels) if self.by_class and labels is not None else None)


class MinibatchDiscrimination(Plugin):
    """Tells D how close each image's features are to those of the others in its batch.

    Source: Salimans 2016, section 3.2: M_i = f(x_i) T, c(i, j) = exp(-||M_i - M_j||_1), and o(x_i), the sum over the
    other images of the batch, becomes part of the features that D's last layer sees. Images that are too much alike
    give themselves away. Real and generated images are judged in batches apart. A discriminator with a network for
    each class compares images of one class alone. Memory grows with the square of the batch, times kernels dims.

    When to use: samples are alike, while real images are not.
    When not: with a gradient penalty, which is each image's own; `minibatch_stddev` does much of it for less.
    """

    name = "minibatch_discrimination"
    batch_coupled = True

    class Config(Settings):
        kernels: int = Field(16, ge=1, description="how many measures of closeness, B in the paper")
        dims: int = Field(8, ge=1, description="in how many dimensions each is taken, C in the paper")

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        if player == "generator" or run is None:
            return network
        by_class = run.recipe.plugin_class("discriminator").per_class_networks
        c = self.config
        return Widened(network, Closeness(feature_count(network, run), c.kernels, c.dims, by_class), count=c.kernels)
