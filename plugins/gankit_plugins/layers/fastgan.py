"""Layers of FastGAN's networks: channels at each size, and blocks that double or halve the size (Liu 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from gankit import Player, Spec
from gankit_plugins.layers.dcgan import SLOPE, Size, initialized
from gankit_plugins.layers.residual import ResidualBlock

NARROWEST = 32
"""Limit on the decrease of the number of channels.

Each feature map smaller than 512x512 has at least 1/32 of the largest number of channels.
"""

LARGE = 512
"""Minimum side, in pixels, of the feature maps that have only 3 channels (Liu 2021, section 3)."""

CHANNELS_OF_LARGE = 3
"""Number of channels of feature maps of at least 512x512 (Liu 2021, section 3)."""


def channels_at(level: int, width: int, size: Size) -> int:
    """Return the number of channels of a feature map whose sides are 2^level times those of the smallest feature map.

    The number is `width` / 2^level, but at least `width` / 32 and at least 1. Feature maps of at least 512x512 have 3
    channels.
    """
    if min(size) >= LARGE:
        return CHANNELS_OF_LARGE
    return max(width // min(2**level, NARROWEST), 1)


def gated(spec: Spec, player: Player, layer: nn.Module, channels: int) -> nn.Sequential:
    """Return `layer`, followed by the recipe's normalisation and a gated linear unit.

    `layer` must have 2 * `channels` output channels. The gated linear unit halves this number.
    """
    return nn.Sequential(spec.normalize(player, layer, 2 * channels), nn.GLU(dim=1))


def up_block(spec: Spec, player: Player, before: int, after: int, size: Size) -> nn.Sequential:
    """Return a block: nearest-neighbour upsampling to `size`, a convolution, and a gated linear unit.

    Source: Liu 2021, figure 3.
    """
    layer = initialized(nn.Conv2d(before, 2 * after, 3, padding=1))
    return nn.Sequential(nn.Upsample(size), gated(spec, player, layer, after))


def activated(spec: Spec, layer: nn.Module, channels: int) -> nn.Sequential:
    """Return `layer`, followed by the recipe's normalisation for D and LeakyReLU."""
    return nn.Sequential(spec.normalize("discriminator", layer, channels), nn.LeakyReLU(SLOPE))


def halving(before: int, after: int) -> nn.Conv2d:
    """Return a 4x4 convolution with stride 2. It halves height and width, rounding down."""
    return initialized(nn.Conv2d(before, after, 4, stride=2, padding=1))


class DownBlock(ResidualBlock):
    """Block of D that halves height and width, rounding down.

    The output is the mean of two paths. One path has two convolutions. The other path has average pooling and a 1x1
    convolution.

    Source: Liu 2021, figure 4.
    """

    def __init__(self, spec: Spec, before: int, after: int) -> None:
        two = nn.Sequential(
            activated(spec, halving(before, after), after),
            activated(spec, initialized(nn.Conv2d(after, after, 3, padding=1)), after),
        )
        one = activated(spec, initialized(nn.Conv2d(before, after, 1)), after)
        super().__init__(two, nn.Sequential(nn.AvgPool2d(2), one))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output of both paths, (B, C', H // 2, W // 2), for feature maps x, (B, C, H, W)."""
        return super().forward(x) / 2
