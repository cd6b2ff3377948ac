"""Instance normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import InputError, Plugin, Settings, hookimpl


class InstanceNorm(Plugin):
    """Normalises each channel of each image by itself, over its pixels, after the layer.

    Source: Ulyanov 2016. Then each channel has a scale and a shift that are learnt. A channel's mean over the image,
    which it takes away, is what style is made of.

    When to use: style and image-to-image generators; small batches.
    When not: on fully connected layers, which have one number for a channel; where maps are one pixel wide.
    """

    name = "instance_norm"
    kind = "normalization"

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="added to the variance before its root is taken")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        if isinstance(layer, nn.Linear):
            raise InputError(
                "instance_norm takes each channel's mean over the pixels, and a fully connected layer has none; use "
                "layer_norm or batch_norm"
            )
        return nn.Sequential(layer, nn.InstanceNorm2d(features, eps=self.config.eps, affine=True))
