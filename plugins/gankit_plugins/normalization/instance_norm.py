"""Instance normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import InputError, Plugin, Settings, hookimpl
from gankit_plugins.layers.dimensions import dimensions_of

NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
"""Class of instance norm for each number of dimensions of the feature maps."""


class InstanceNorm(Plugin):
    """Instance norm: normalisation over the pixels of a feature map, separately for each channel of each image.

    Source: Ulyanov 2016. Each channel has a learned scale and shift. The normalisation removes the mean of each channel
    over the image. This mean is a part of the image's style.

    When to use: in generators for style transfer and image-to-image translation, or with small batches.
    When not: on fully connected layers or feature maps of one pixel, which have only one value per channel.
    """

    name = "instance_norm"
    kind = "normalization"

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="addend to the variance, before the square root")

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        dimensions = dimensions_of(layer)
        if not dimensions:
            raise InputError(
                "instance_norm: a fully connected layer has no pixels to compute statistics over; use layer_norm or "
                "batch_norm"
            )
        return nn.Sequential(layer, NORMS[dimensions](features, eps=self.config.eps, affine=True))
