"""Minibatch standard deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gankit import Player, Plugin, hookimpl
from gankit_plugins.trick.feature_head import Widened, same_class

if TYPE_CHECKING:
    from gankit import Run

EPS = 1e-8
"""Under the root, so that a batch of images all alike has a gradient."""


def mean_deviation(features: Tensor, compared: Tensor | None) -> Tensor:
    """The standard deviation of each feature over a batch, averaged over the features (Karras 2017, section 3).

    Args:
        features: (B, F).
        compared: (B, B) bool, which images are compared with which: the batch in parts that do not overlap. None: all
            with all.

    Returns:
        (B, 1), in float32 at least; the same number for all of a part.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if compared is None:
        deviation = (features.var(0, correction=0) + EPS).sqrt().mean()
        return deviation.expand(len(features), 1)
    with torch.autocast(features.device.type, enabled=False):
        share = compared.to(features.dtype)
        share = share / share.sum(1, keepdim=True)
        # Each image's part has one mean, so the means of squares may be taken part by part as well.
        variance = share @ (features - share @ features).square()
        return (variance + EPS).sqrt().mean(1, keepdim=True)


class Deviation(nn.Module):
    """Features to how much they differ within the batch: (B, F) to (B, 1)."""

    def __init__(self, by_class: bool) -> None:
        super().__init__()
        self.by_class = by_class

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        compared = same_class(labels) if self.by_class and labels is not None else None
        return mean_deviation(features, compared)


class MinibatchStddev(Plugin):
    """Tells D how much the images of its batch differ, as one number.

    Source: Karras 2017, section 3: the standard deviation of each feature over the batch, averaged over all features,
    becomes one more feature. Here they are those that D's last layer sees. A discriminator with a network for each
    class takes it over images of one class.

    When to use: samples are alike, while real images are not; cheaper than `minibatch_discrimination`.
    When not: with a gradient penalty, which is each image's own; in batches of very few images.
    """

    name = "minibatch_stddev"
    batch_coupled = True

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        if player == "generator" or run is None:
            return network
        return Widened(network, Deviation(run.recipe.plugin_class("discriminator").per_class_networks), count=1)
