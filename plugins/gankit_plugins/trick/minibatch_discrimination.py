"""Minibatch discrimination: features that measure how similar the images of a batch are."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Player, Plugin, Run, Settings, hookimpl
from gankit_plugins.layers.probe import feature_count
from gankit_plugins.trick.feature_head import ExtendedFeatures, same_class


def closeness(M: Tensor, compared: Tensor | None) -> Tensor:
    """Return the closeness of each image to other images: `o_i = sum_{j != i} exp(-||M_i - M_j||_1)` for each kernel.

    Source:
        Salimans 2016, section 3.2.

    Args:
        M: projected features, (B, kernels, dims).
        compared: bool tensor (B, B), True for the pairs to compare; None for all pairs.

    Returns:
        The closeness, (B, kernels), in float32 or a wider type.
    """
    M = M.to(torch.promote_types(M.dtype, torch.float32))
    distance = (M[:, None] - M[None]).abs().sum(-1)
    compare = ~torch.eye(len(M), dtype=torch.bool, device=M.device)
    if compared is not None:
        compare = compare & compared
    return (torch.exp(-distance) * compare[..., None]).sum(1)


class Closeness(nn.Module):
    """Module that maps features (B, F) to each image's closeness to the other images of its batch, (B, kernels)."""

    def __init__(self, features: int, kernels: int, dims: int, per_class: bool) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, dims) / features**0.5)
        self.per_class = per_class

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        M = torch.einsum("ba,akd->bkd", features, self.T.to(features.dtype))
        return closeness(M, same_class(labels) if self.per_class and labels is not None else None)


class MinibatchDiscrimination(Plugin):
    """Additional features for D that measure how close each image is to the other images of its batch.

    Source: Salimans 2016, section 3.2: M_i = f(x_i) T and c(i, j) = exp(-||M_i - M_j||_1). The sum of c over the other
    images of the batch is an additional input of D's last layer. D can therefore detect images that are too similar.
    Real and generated images are separate batches. A discriminator with one network per class compares only images of
    the same class. Memory is proportional to `kernels`, to `dims` and to the square of the batch size.

    When to use: if samples are too similar, while real images are not.
    When not: with a gradient penalty, which assumes that D's logit depends on a single image. `minibatch_stddev` is
    cheaper and often sufficient.
    """

    name = "minibatch_discrimination"
    batch_coupled = True

    class Config(Settings):
        kernels: int = Field(16, ge=1, description="number of kernels, B in the paper")
        dims: int = Field(8, ge=1, description="dimensions of a kernel, C in the paper")

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        if player == "generator" or run is None:
            return network
        per_class, c = run.recipe.plugin_class("discriminator").per_class_networks, self.config
        further = Closeness(feature_count(network, run), c.kernels, c.dims, per_class)
        return ExtendedFeatures(network, further, count=c.kernels)
