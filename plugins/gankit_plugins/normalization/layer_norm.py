"""Layer normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.normalization.conv_groups import conv_groups


class LayerNorm(Plugin):
    """Layer norm: normalisation over all channels and pixels, separately for each image.

    Source: Ba 2016; for critics with a gradient penalty, Gulrajani 2017, section 4. Each channel has a learned scale
    and shift. If a player has one network per class, each network is normalised separately.

    When to use: in a discriminator with a gradient penalty, where batch norm would make the images of a batch depend on
    each other.
    When not: in a generator, because layer norm removes the overall contrast of an image.
    """

    name = "layer_norm"
    kind = "normalization"

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="addend to the variance, before the square root")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, nn.GroupNorm(conv_groups(layer), features, eps=self.config.eps))
