"""Fully connected generator."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl

Width = Annotated[int, Field(ge=1)]


class FullyConnectedGenerator(nn.Module):
    """Fully connected network that maps z to all values of an image."""

    def __init__(self, spec: Spec, hidden: list[int]) -> None:
        super().__init__()
        self.shape = spec.shape
        layers: list[nn.Module] = []
        width = spec.latent_size
        for wider in hidden:
            layers += [spec.normalize("generator", nn.Linear(width, wider), wider), nn.ReLU()]
            width = wider
        self.hidden = nn.Sequential(*layers)
        self.to_image = nn.Linear(width, math.prod(spec.shape))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). Labels are unused."""
        return self.to_image(self.hidden(z)).tanh().view(-1, *self.shape)


class MlpGenerator(Plugin):
    """Fully connected generator, for images of any size or for points in the plane.

    Source: Goodfellow 2014, section 5. The setting `normalization.generator` applies to every hidden layer, before its
    ReLU. The activation of the last layer is tanh.

    When to use: for points, for small images, and to reproduce the first GAN.
    When not: for images larger than about 64x64; use `dcgan`, because convolutions suit large images better.
    """

    name = "mlp"
    kind = "generator"

    class Config(Settings):
        hidden: list[Width] = Field([128, 128], min_length=1, description="widths of the hidden layers")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return FullyConnectedGenerator(spec, self.config.hidden)
