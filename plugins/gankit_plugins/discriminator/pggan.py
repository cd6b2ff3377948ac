"""PGGAN's discriminator, which grows during training (Karras 2017)."""

from __future__ import annotations

import sys
from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.minibatch_stddev import DeviationMap
from gankit_plugins.layers.pggan import activation, convolution
from gankit_plugins.layers.progressive import Growing, blend, shrink
from gankit_plugins.layers.scaled_activation import GAIN
from gankit_plugins.layers.square_sizes import FIRST, channels_at, sides_of

WHOLE_BATCH = sys.maxsize
"""Group size for `DeviationMap`. It exceeds any batch size, so all images of a batch are in one group."""


class PgganDiscriminatorNetwork(Growing):
    """Network with an input layer and a block of two convolutions for each size of progressive growing."""

    def __init__(self, spec: Spec, width: int, max_width: int) -> None:
        sides = sides_of(spec, "pggan")
        super().__init__(len(sides))
        channels = [channels_at(side, width * sides[-1], max_width) for side in sides]
        self.from_image = nn.ModuleList(
            nn.Sequential(EqualisedConv2d(spec.channels, before, 1, GAIN), activation()) for before in channels
        )
        last = EqualisedConv2d(channels[0], channels[0], FIRST, GAIN, padding=0)
        # Add one input channel for the minibatch standard deviation, which `DeviationMap` appends.
        first = convolution(spec, "discriminator", channels[0] + 1, channels[0])
        blocks = [nn.Sequential(DeviationMap(WHOLE_BATCH), first, last, activation(), nn.Flatten())]
        for after, before in pairwise(channels):
            layers = (
                convolution(spec, "discriminator", before, before),
                convolution(spec, "discriminator", before, after),
            )
            blocks.append(nn.Sequential(*layers, nn.AvgPool2d(2)))
        self.blocks = nn.ModuleList(blocks)
        self.head = EqualisedLinear(channels[0], 1)

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F). The condition is unused.

        Args:
            images: images (B, C, H, W), at full size or at the current size of progressive growing.
        """
        level, alpha = self.level_and_alpha()
        images = self.to_level(images)
        x = self.from_image[level](images)
        if level > 0:
            x = self.blocks[level](x)
        if alpha is not None:
            x = blend(self.from_image[level - 1](shrink(images)), x, alpha)
        for lower in range(level - 1, 0, -1):
            x = self.blocks[lower](x)
        features = self.blocks[0](x)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class PgganDiscriminator(Plugin):
    """PGGAN's discriminator: the mirror image of PGGAN's generator, with the minibatch standard deviation.

    Source: Karras 2017, table 2 and appendix A.1. Each size has two 3x3 convolutions with leaky ReLU. Then average
    pooling halves the size, down to 4x4. At 4x4, a further channel contains the minibatch standard deviation, averaged
    over all features (section 3). Two convolutions reduce the feature maps to 1x1, and a linear layer maps them to one
    logit. Table 2 describes the network for 1024x1024 images (`width` 16 and `max_width` 512). All weights have an
    equalised learning rate (section 4.1). The paper has no normalisation. If `normalization.discriminator` is set, it
    applies after leaky ReLU in all layers except the first and the last two.

    Images are squares with a side of 4 times a power of two. The trick `progressive_growing` sets the image size of
    each training phase. The network downsamples its inputs to this size by averaging. The minibatch standard deviation
    is computed over the images of one rank and one gradient-accumulation step.

    When to use: with the generator `pggan` and the trick `progressive_growing`.
    When not: with the trick `minibatch_stddev`, because the network already contains this layer.
    """

    name = "pggan"
    kind = "discriminator"
    batch_coupled = True

    class Config(Settings):
        width: int = Field(
            16, ge=1, description="channels of the first feature map; twice as many at each smaller size"
        )
        max_width: int = Field(512, ge=1, description="largest number of channels")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return PgganDiscriminatorNetwork(spec, self.config.width, self.config.max_width)
