"""Layer normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.normalization.conv_groups import groups_of


class LayerNorm(Plugin):
    """Normalises each image by itself, over all of a layer's channels and pixels, after the layer.

    Source: Ba 2016; for critics beside a gradient penalty Gulrajani 2017, section 4. Then each channel has a scale and
    a shift that are learnt. Of networks for each class, which lie side by side in one layer, each is normalised by
    itself.

    When to use: in a discriminator beside a gradient penalty, where batch norm would couple the images.
    When not: in a generator, where the overall contrast of an image carries meaning.
    """

    name = "layer_norm"
    kind = "normalization"

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="added to the variance before its root is taken")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, nn.GroupNorm(groups_of(layer), features, eps=self.config.eps))
