"""StyleGAN's discriminator (Karras 2017, 2018)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Spec, hookimpl
from gankit_plugins.layers.square_sizes import CHANNEL_BASE
from gankit_plugins.layers.style_discriminator import StyleDiscriminator, StyleDiscriminatorSettings, convolutions


class StyleganDiscriminator(Plugin):
    """StyleGAN's discriminator: two convolutions at each size, and the minibatch standard deviation.

    Source: Karras 2018, appendix C, with the network of Karras 2017, table 2, and filtered downsampling. The defaults
    are the paper's values for every size up to 1024x1024. Feature maps of side s have 16,384 / s channels, at most 512.
    A channel with the minibatch standard deviation is appended to the 4x4 feature maps (Karras 2017, section 3). It is
    computed in groups of 4 images, as in the authors' code. All images of a group are from the same rank and the same
    gradient-accumulation step. Progressive growing is left out, so the network has a fixed size. The setting
    `normalization.discriminator` is not used.

    When to use: with the generator `stylegan`. For classes, add the trick `projection`.
    When not: for images that are not square, or whose side is not a power of two; use `sngan`.
    """

    name = "stylegan"
    kind = "discriminator"

    class Config(StyleDiscriminatorSettings):
        channel_base: int = Field(16384, ge=1, description=CHANNEL_BASE)

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return StyleDiscriminator(spec, self.config, convolutions, self.name)
