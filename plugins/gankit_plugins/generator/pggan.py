"""PGGAN's generator, which grows during training (Karras 2017)."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.linear_output import linear_output
from gankit_plugins.layers.pggan import convolution
from gankit_plugins.layers.pixel_norm import pixel_norm
from gankit_plugins.layers.progressive import Growing, blend, enlarge
from gankit_plugins.layers.square_sizes import FIRST, channels_at, sides_of


class PgganGenerator(Growing):
    """Network with a block of two convolutions and an output layer for each size of progressive growing."""

    def __init__(self, spec: Spec, width: int, max_width: int) -> None:
        sides = sides_of(spec, "pggan")
        super().__init__(len(sides))
        channels = [channels_at(side, width * sides[-1], max_width) for side in sides]
        # A padding of 3 makes the first convolution fully connected: it maps 1x1 to 4x4.
        first = convolution(spec, "generator", spec.latent_size, channels[0], FIRST, padding=FIRST - 1)
        blocks = [nn.Sequential(first, convolution(spec, "generator", channels[0], channels[0]))]
        for before, after in pairwise(channels):
            layers = convolution(spec, "generator", before, after), convolution(spec, "generator", after, after)
            blocks.append(nn.Sequential(nn.Upsample(scale_factor=2), *layers))
        self.blocks = nn.ModuleList(blocks)
        self.to_image = nn.ModuleList(EqualisedConv2d(after, spec.channels, 1) for after in channels)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) from z (B, latent_size). The condition is unused.

        In training, the values may lie outside [-1, 1]. In evaluation mode, they are clamped to this range.
        """
        level, alpha = self.level_and_alpha()
        lower = pixel_norm(z)[:, :, None, None]
        for block in self.blocks[:level]:
            lower = block(lower)
        images = self.to_image[level](self.blocks[level](lower))
        if alpha is not None:
            images = blend(enlarge(self.to_image[level - 1](lower)), images, alpha)
        images = enlarge(images, 2 ** (self.levels - 1 - level))
        return linear_output(images, self.training)


class Pggan(Plugin):
    """PGGAN's generator, which can be trained size by size. Each size has two convolutions.

    Source: Karras 2017, table 2 and appendix A.1. z is normalised to the length latent_size^0.5. A 4x4 convolution maps
    z to 4x4 feature maps. At each further size, nearest-neighbour upsampling doubles the size, and two 3x3 convolutions
    with leaky ReLU follow. Table 2 describes the network for 1024x1024 images (`width` 16 and `max_width` 512). The
    setting `normalization.generator` applies after every leaky ReLU (paper: pixel_norm). All weights have an equalised
    learning rate (section 4.1).

    The last layer is linear, as in the paper, so images may have values outside [-1, 1] in training. They are clamped
    to [-1, 1] in samples and metrics.

    Images are squares with a side of 4 times a power of two. The trick `progressive_growing` sets the image size of
    each training phase. In a phase, the layers for larger sizes do not change, and images are upsampled to the full
    size by nearest neighbours.

    When to use: with the discriminator `pggan`, the trick `progressive_growing`, and `normalization.generator` =
    `pixel_norm`, for images of 64x64 and larger.
    When not: for images of other sizes; use `dcgan` or `sngan`.
    """

    name = "pggan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(
            16,
            ge=1,
            description="channels of the last feature map before the image; twice as many at each smaller size",
        )
        max_width: int = Field(512, ge=1, description="largest number of channels")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return PgganGenerator(spec, self.config.width, self.config.max_width)
