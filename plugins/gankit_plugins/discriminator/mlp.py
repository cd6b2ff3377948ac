"""Fully connected discriminator."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl

Width = Annotated[int, Field(ge=1)]


class FullyConnectedDiscriminator(nn.Module):
    """Fully connected network that maps all values of an image to one logit."""

    def __init__(self, spec: Spec, hidden: list[int], slope: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(spec.shape)
        for wider in hidden:
            layers += [spec.normalize("discriminator", nn.Linear(width, wider), wider), nn.LeakyReLU(slope)]
            width = wider
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, hidden[-1]) of images (B, C, H, W). Labels are unused."""
        features = self.hidden(images)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class MlpDiscriminator(Plugin):
    """Fully connected discriminator, for images of any size or for points in the plane.

    Source: Goodfellow 2014, section 5, with LeakyReLU instead of maxout. The setting `normalization.discriminator`
    applies to every hidden layer.

    When to use: for points, for small images, and to reproduce the first GAN.
    When not: for images larger than about 64x64; use `dcgan`, because convolutions suit large images better.
    """

    name = "mlp"
    kind = "discriminator"

    class Config(Settings):
        hidden: list[Width] = Field([128, 128], min_length=1, description="widths of the hidden layers")
        slope: float = Field(0.2, ge=0, lt=1, description="negative slope of LeakyReLU")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return FullyConnectedDiscriminator(spec, self.config.hidden, self.config.slope)
