"""FastGAN's discriminator: blocks of two paths. Each block halves height and width (Liu 2021)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import SLOPE, Size, initialized
from gankit_plugins.layers.fastgan import DownBlock, channels_at, halving
from gankit_plugins.layers.residual import sizes_of

SMALLEST = 8
"""Upper limit of the smaller side of the last feature map, in pixels."""

KERNEL = 4
"""Kernel size of the last convolution, which maps an 8x8 feature map to 5x5 logits."""


def halved_sizes(image: Size) -> list[Size]:
    """Return the sizes of D's feature maps. Each size is half of the size before, rounded down."""
    sizes = [(image[0] // 2, image[1] // 2)]
    while min(sizes[-1]) > SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


class FastganDiscriminatorNetwork(nn.Module):
    """Network that halves height and width until the smaller one is at most 8. It returns several logits per image."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        sizes = halved_sizes(sizes_of(spec, "fastgan", SMALLEST)[0])
        channels = [channels_at(level, width, size) for level, size in enumerate(reversed(sizes))][::-1]
        self.from_image = nn.Sequential(halving(spec.channels, channels[0]), nn.LeakyReLU(SLOPE))
        # Number the blocks from the last one. Networks for other image sizes then use the same name for the same block.
        numbers = range(len(channels) - 2, -1, -1)
        blocks = [(str(n), DownBlock(spec, *pair)) for n, pair in zip(numbers, pairwise(channels), strict=True)]
        self.body = nn.Sequential(OrderedDict(blocks))
        rows, columns = (min(KERNEL, side) for side in sizes[-1])
        self.head = initialized(nn.Conv2d(channels[-1], 1, (rows, columns)))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B, h, w) and features (B, F) of images (B, C, H, W). The condition is unused."""
        x = self.body(self.from_image(images))
        return DiscriminatorOutput(self.head(x).squeeze(1), x.flatten(1))


class FastganDiscriminator(Plugin):
    """FastGAN's discriminator: blocks that return the mean of two paths, and 5x5 logits for each image.

    Source: Liu 2021, section 3.2 and figure 4. Every block halves the size. One path has a convolution with stride 2
    and another convolution. The other path has average pooling and a 1x1 convolution. The setting
    `normalization.discriminator` applies to all of these convolutions, and LeakyReLU 0.2 follows. Feature maps of
    512x512 and larger have 3 channels. The other numbers of channels, the first convolution and the last convolution
    are choices of this implementation. The first convolution halves the size of the image, and the last one maps the
    8x8 feature map to 5x5 logits. Initial weights are as in the generator `fastgan`. The self-supervised part of the
    paper is the trick `discriminator_reconstruction`.

    Images may have any size of at least 4x4. The network halves the height and width, rounded down, until the smaller
    one is at most 8.

    When to use: for small datasets, with the generator `fastgan` and the tricks `discriminator_reconstruction` and
    `diff_augment`. For classes, add the trick `projection`.
    When not: with both a gradient penalty and batch norm, because batch norm couples the images of a batch. Set
    `normalization.discriminator` to `none` or `spectral_norm`.
    """

    name = "fastgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(1024, ge=1, description="channels of the smallest feature map, which has the most")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return FastganDiscriminatorNetwork(spec, self.config.width)
