"""Discriminator of sequences of characters: one-dimensional residual blocks (Gulrajani 2017)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.character_resnet import CharacterDiscriminatorNetwork


class CharacterResnetDiscriminator(Plugin):
    """Discriminator of texts with one-dimensional residual blocks.

    Source: Gulrajani 2017, "Modeling discrete data with a continuous generator". A convolution of size 1 maps one-hot
    vectors or probabilities of the characters to `width` channels. Five residual blocks and a linear layer follow. The
    sizes are those of the authors' code, where `width` is 512.

    When to use: with the generators `character_resnet` and `gumbel_character_resnet`.
    When not: for images and audio.
    """

    name = "character_resnet"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(512, ge=1, description="channels of all residual blocks")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return CharacterDiscriminatorNetwork(spec, self.config.width, self.name)
