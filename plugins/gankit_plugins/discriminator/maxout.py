"""Discriminator of the first GAN (Goodfellow 2014)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.maxout import maxout_layer, to_unit_interval

Units = Annotated[int, Field(ge=1)]


class MaxoutNetwork(nn.Module):
    """Network of maxout layers with dropout that maps all values of an image to one logit."""

    def __init__(self, spec: Spec, config: MaxoutDiscriminator.Config) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(config.input_dropout)]
        inputs = math.prod(spec.shape)
        for count in config.units:
            layers += [maxout_layer(spec, inputs, count, config.pieces), nn.Dropout(config.dropout)]
            inputs = count
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, units[-1]) of images (B, C, H, W). Labels are unused."""
        features = self.hidden(to_unit_interval(images))
        return DiscriminatorOutput(self.head(features).flatten(), features)


class MaxoutDiscriminator(Plugin):
    """Discriminator of the first GAN: fully connected maxout layers with dropout.

    Source: Goodfellow 2014, section 5, in which D has maxout units and dropout. The sizes are from the authors' code
    for MNIST: two layers of 240 units. Dropout is 0.2 on the image and 0.5 on the hidden units. Each unit is the
    maximum of 5 values. As in the paper, the input is scaled to [0, 1]. The setting `normalization.discriminator`
    applies to every hidden layer, before the maximum. Initial weights are PyTorch's defaults. The authors' code draws
    them uniformly from [-0.005, 0.005].

    When to use: with the generator `mlp`, to reproduce the first GAN.
    When not: for images larger than about 64x64; use `dcgan`, because convolutions suit large images better.
    """

    name = "maxout"
    kind = "discriminator"

    class Config(Settings):
        units: list[Units] = Field([240, 240], min_length=1, description="units of the hidden layers")
        pieces: int = Field(5, ge=1, description="number of values of which a unit is the maximum")
        input_dropout: float = Field(0.2, ge=0, lt=1, description="proportion of the image to drop in training")
        dropout: float = Field(0.5, ge=0, lt=1, description="proportion of the hidden units to drop in training")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return MaxoutNetwork(spec, self.config)
