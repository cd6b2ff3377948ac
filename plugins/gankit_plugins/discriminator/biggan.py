"""BigGAN's residual discriminator (Brock 2018)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.discriminator.sngan import SnganDiscriminatorNetwork
from gankit_plugins.layers.residual import widening_block


class BigGanDiscriminator(Plugin):
    """BigGAN's discriminator: SNGAN's network, but the first convolution of a block changes the number of channels.

    Source: Brock 2018, appendix B. Table 4 describes the network for 128x128 images: five blocks that halve the size,
    then one block that keeps the size. The first block has `width` channels. Each further block doubles the channels,
    up to 16 times `width`. A sum over all positions follows. Three parts of the paper are separate plugins.
    `projection` adds a term for the class to the logit. `self_attention` is the non-local block at 64x64.
    `normalization.discriminator = "spectral_norm"` adds spectral norm to every layer. Without `double_channels`, the
    network is equal to that of `sngan` with the same `width`. The initial weights are as in `sngan`; the trick
    `orthogonal_init` gives the orthogonal weights of the paper.

    Images may have any size of at least 4x4. The blocks halve the height and width, rounded up, until the smaller one
    is at most 4, or at most 8 without `double_channels`.

    When to use: with the generator `biggan`, the loss `hinge` and the trick `projection`.
    When not: on a laptop with the paper's `width`, because the network then has 86 million weights. Set a smaller
    `width`.
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
