"""Minibatch standard deviation: a feature that measures how different the images of a batch are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit import Player, Plugin, Run, hookimpl
from gankit_plugins.trick.feature_head import ExtendedFeatures, same_class

EPS = 1e-8
"""Number added to the variance before the square root, so that the gradient for a batch of equal images is finite."""


def mean_deviation(features: Tensor, compared: Tensor | None) -> Tensor:
    """Return the standard deviation of each feature over a batch, averaged over the features (Karras 2017, section 3).

    Args:
        features: features of the images, (B, F).
        compared: bool tensor (B, B), True for pairs of images of the same class; None to use the whole batch.

    Returns:
        The average, (B, 1), in float32 or a wider type. It is equal for all images that are compared with each other.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if compared is None:
        deviation = (features.var(0, correction=0) + EPS).sqrt().mean()
        return deviation.expand(len(features), 1)
    with torch.autocast(features.device.type, enabled=False):
        share = compared.to(features.dtype)
        share = share / share.sum(1, keepdim=True)
        # Row i of `share @ features` is the mean of the features over all images that image i is compared with.
        variance = share @ (features - share @ features).square()
        return (variance + EPS).sqrt().mean(1, keepdim=True)


class Deviation(nn.Module):
    """Module that maps features (B, F) to their standard deviation within the batch, averaged over features, (B, 1)."""

    def __init__(self, per_class: bool) -> None:
        super().__init__()
        self.per_class = per_class

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        compared = same_class(labels) if self.per_class and labels is not None else None
        return mean_deviation(features, compared)


class MinibatchStddev(Plugin):
    """Additional feature for D that measures the variation within the batch.

    Source: Karras 2017, section 3: the standard deviation of each feature over the batch, averaged over all features,
    is an additional feature. Here the features are the input of D's last layer. A discriminator with one network per
    class computes the standard deviation over images of the same class.

    When to use: if samples are too similar, while real images are not; this trick is cheaper than
    `minibatch_discrimination`.
    When not: with a gradient penalty, which assumes that D's logit depends on a single image; with batches of very few
    images.
    """

    name = "minibatch_stddev"
    batch_coupled = True

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        if player == "generator" or run is None:
            return network
        further = Deviation(run.recipe.plugin_class("discriminator").per_class_networks)
        return ExtendedFeatures(network, further, count=1)
