"""Group normalisation."""

from __future__ import annotations

import math

from pydantic import Field
from torch import nn

from gankit import InputError, Plugin, Settings, hookimpl
from gankit_plugins.normalization.conv_groups import groups_of


class GroupNorm(Plugin):
    """Normalises each image by itself, over groups of a layer's channels, after the layer.

    Source: Wu 2018. Between `layer_norm` (one group) and `instance_norm` (a group for each channel). Of networks for
    each class, which lie side by side in one layer, each has groups of its own.

    When to use: small batches, whose statistics batch norm could not trust.
    When not: where the number of channels has no useful divisor: layers of three channels have one group;
    maps of one pixel, with a group for each channel, which would always be 0.
    """

    name = "group_norm"
    kind = "normalization"

    class Config(Settings):
        groups: int = Field(
            8, ge=1, description="into which a layer's channels are split; the largest divisor both have, if fewer"
        )
        eps: float = Field(1e-5, gt=0, description="added to the variance before its root is taken")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        side_by_side = groups_of(layer)
        groups = math.gcd(features // side_by_side, self.config.groups)
        if isinstance(layer, nn.Linear) and groups == features:
            raise InputError(
                f"group_norm: the {features} outputs of a fully connected layer in {groups} groups leave one number in "
                "each, and normalised alone it is always 0; set fewer `groups`, or use layer_norm"
            )
        return nn.Sequential(layer, nn.GroupNorm(groups * side_by_side, features, eps=self.config.eps))
