"""CGAN's discriminator (Mirza 2014)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, require_numbers
from gankit_plugins.layers.maxout import maxout_layer, to_unit_interval


class CganDiscriminatorNetwork(nn.Module):
    """Network with maxout layers for the image, the condition and their joint features, and a linear output layer."""

    def __init__(self, spec: Spec, config: CganDiscriminator.Config) -> None:
        super().__init__()
        c = config
        self.numbers = require_numbers(spec, "cgan", "maxout")
        numbers = math.prod(spec.shape)
        self.from_image = nn.Sequential(nn.Flatten(), maxout_layer(spec, numbers, c.image_units, c.pieces))
        self.from_label = maxout_layer(spec, self.numbers, c.label_units, c.pieces)
        self.joint = nn.Sequential(
            nn.Dropout(c.dropout),
            maxout_layer(spec, c.image_units + c.label_units, c.joint_units, c.joint_pieces),
            nn.Dropout(c.dropout),
        )
        self.head = nn.Linear(c.joint_units, 1)

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and the last hidden units (B, joint_units) for images (B, C, H, W) and their condition.

        The condition is labels (B,) or vectors (B, N).
        """
        assert condition is not None, "a conditional discriminator needs a condition"
        y = numbers_of(condition, self.numbers).to(images.dtype)
        features = self.joint(torch.cat([self.from_image(to_unit_interval(images)), self.from_label(y)], dim=1))
        return DiscriminatorOutput(self.head(features).flatten(), features)


class CganDiscriminator(Plugin):
    """CGAN's discriminator: fully connected maxout layers, with the class or attributes as an additional input.

    Source: Mirza 2014, section 4.1. The image is mapped to 240 maxout units of 5 pieces, and the class to 50 units of 5
    pieces. The concatenation of these units is mapped to 240 units of 4 pieces. A linear layer maps the last units to
    one logit. In training, half of the units of every hidden layer are dropped. The paper does not say which layers
    have dropout. As in the paper, the input is scaled to [0, 1]. The setting `normalization.discriminator` applies to
    every hidden layer (paper: none).

    When to use: with the generator `cgan`, on small images.
    When not: for images larger than about 64x64; use `conditional_dcgan`. For images without labels, use `maxout`.
    """

    name = "cgan"
    kind = "discriminator"

    class Config(Settings):
        image_units: int = Field(240, ge=1, description="units of the layer for the image")
        label_units: int = Field(50, ge=1, description="units of the layer for the class")
        pieces: int = Field(5, ge=1, description="number of values of which a unit of these two layers is the maximum")
        joint_units: int = Field(240, ge=1, description="units of the joint layer")
        joint_pieces: int = Field(4, ge=1, description="number of values of which a joint unit is the maximum")
        dropout: float = Field(0.5, ge=0, lt=1, description="proportion of the hidden units to drop in training")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_numbers(spec, self.name, "maxout")

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return CganDiscriminatorNetwork(spec, self.config)
