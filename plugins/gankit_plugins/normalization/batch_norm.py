"""Batch normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.layers.dimensions import batch_norm_for


class BatchNorm(Plugin):
    """Batch norm: normalisation of each channel over all images and pixels of a batch.

    Source: Ioffe 2015; for GANs Radford 2015. A convolution is followed by batch norm with the same number of
    dimensions, such as `nn.BatchNorm2d` after `nn.Conv2d`. A linear layer is followed by `nn.BatchNorm1d`. The
    convolution or linear layer keeps its bias, although batch norm removes the effect of this bias. In training, the
    output for an image depends on the other images of its batch. In evaluation mode, running statistics replace batch
    statistics.

    When to use: in generators like DCGAN and IGAN, which train poorly without it.
    When not: in a discriminator with a gradient penalty, or with batches of very few images.
    """

    name = "batch_norm"
    kind = "normalization"
    batch_coupled = True

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="addend to the variance, before the square root")
        momentum: float = Field(
            0.1, gt=0, le=1, description="weight of the newest batch in the running averages of mean and variance"
        )

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        batch_norm = batch_norm_for(layer)
        return nn.Sequential(layer, batch_norm(features, eps=self.config.eps, momentum=self.config.momentum))
