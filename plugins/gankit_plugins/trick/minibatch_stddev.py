"""Minibatch standard deviation: a feature that measures how different the images of a batch are."""

from __future__ import annotations

from torch import Tensor, nn

from gankit import Player, Plugin, Run, hookimpl
from gankit_plugins.layers.minibatch_stddev import mean_deviation
from gankit_plugins.trick.feature_head import ExtendedFeatures, same_class


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
