"""BigGAN's residual discriminator (Brock 2018)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.discriminator.sngan import SnganDiscriminatorNetwork
from gankit_plugins.layers.residual import widening_block


class BigGanDiscriminator(Plugin):
    """BigGAN's discriminator: that of SNGAN, but the first convolution of a block changes the number of channels.

    Source: Brock 2018, appendix B. Table 4 has the network for 128x128: five blocks that halve the size, with `width`
    channels and twice as many after each, up to 16 times, and one block that does not halve it. A sum over all
    positions follows. Three parts of the paper are other plugins: the class enters through the trick `projection`, the
    non-local block at 64x64 is `self_attention`, and every layer has `normalization.discriminator = "spectral_norm"`.
    Without `double_channels`, the network is that of `sngan` with the same width. Initial weights are as in `sngan`;
    the paper's orthogonal ones are the trick `orthogonal_init`.

    Images may have any size of at least 4x4. The blocks halve the sides, rounded up, until the smaller one is at most
    4, or at most 8 without `double_channels`.

    When to use: with the generator `biggan`, the loss `hinge` and the trick `projection`.
    When not: on a laptop with the width of the paper, where this network has 86 million weights; set a small `width`.
    """

    name = "biggan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(96, ge=1, description="channels of the first feature map; ch in the paper")
        double_channels: bool = Field(
            True, description="double the channels in each block, up to 16 times; else all have the same number"
        )

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return SnganDiscriminatorNetwork(
            spec, self.config.width, self.config.double_channels, self.name, widening_block
        )
