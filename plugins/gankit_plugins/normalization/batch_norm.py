"""Batch normalisation."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl


class BatchNorm(Plugin):
    """Normalises each channel over the batch, after the layer.

    Source: Ioffe 2015; for GANs Radford 2015. Convolutions get `nn.BatchNorm2d` after them, linear layers
    `nn.BatchNorm1d`. The layer's own bias, which the normalisation takes out again, stays where the
    architecture put it. In training an image's output depends on the rest of its batch; in evaluation mode
    running averages take the batch's place.

    When to use: in generators of the DCGAN and IGAN kind, which hardly train without it.
    When not: in a discriminator beside a gradient penalty, or with batches of very few images.
    """

    name = "batch_norm"
    kind = "normalization"
    batch_coupled = True

    class Config(Settings):
        eps: float = Field(1e-5, gt=0, description="added to the variance before its root is taken")
        momentum: float = Field(
            0.1, gt=0, le=1, description="share of the newest batch in the running averages of mean and variance"
        )

    config: Config

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        batch_norm = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
        return nn.Sequential(layer, batch_norm(features, eps=self.config.eps, momentum=self.config.momentum))
