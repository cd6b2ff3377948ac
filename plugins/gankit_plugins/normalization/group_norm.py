"""Group normalisation."""

from __future__ import annotations

import math

from pydantic import Field
from torch import nn

from gankit import InputError, Plugin, Settings, hookimpl
from gankit_plugins.normalization.conv_groups import conv_groups


class GroupNorm(Plugin):
    """Group norm: normalisation over groups of channels, separately for each image.

    Source: Wu 2018. One group is equivalent to `layer_norm`, and one group per channel to `instance_norm`. If a player
    has one network per class, each network has separate groups.

    When to use: with small batches, because batch statistics are then unreliable.
    When not: if the number of channels has no suitable divisor. For example, a layer with three channels gets one
    group. Also not with one group per channel on feature maps of one pixel, whose normalised values are always 0.
    """

    name = "group_norm"
    kind = "normalization"

    class Config(Settings):
        groups: int = Field(8, ge=1, description="number of groups, or its greatest common divisor with the channels")
        eps: float = Field(1e-5, gt=0, description="addend to the variance, before the square root")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        networks = conv_groups(layer)
        groups = math.gcd(features // networks, self.config.groups)
        if isinstance(layer, nn.Linear) and groups == features:
            raise InputError(
                f"group_norm: groups: a fully connected layer with {features} outputs in {groups} groups has one "
                "value per group, which is always normalised to 0; set fewer groups, or use layer_norm"
            )
        return nn.Sequential(layer, nn.GroupNorm(groups * networks, features, eps=self.config.eps))
