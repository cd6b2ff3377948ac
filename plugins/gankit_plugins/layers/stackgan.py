"""Blocks of StackGAN's networks."""

from __future__ import annotations

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.dcgan import Size, half, initialized

SLOPE = 0.2
"""Negative slope of LeakyReLU (Zhang 2017, section 3.4, and Radford 2015)."""


def sizes_of(image: Size, smallest: int, halvings: int = 0) -> list[Size]:
    """Return the sizes of feature maps, starting with the image. Each size is half of the previous one, rounded up.

    The last size is the first one whose smaller side is at most `smallest`, but there are at least `halvings` halvings.
    """
    sizes = [image]
    while len(sizes) <= halvings or min(sizes[-1]) > smallest:
        sizes.append(half(sizes[-1]))
    return sizes


def convolution(spec: Spec, before: int, after: int) -> nn.Sequential:
    """Return a 3x3 convolution of the generator with the recipe's normalisation and ReLU."""
    layer = initialized(nn.Conv2d(before, after, 3, padding=1))
    return nn.Sequential(spec.normalize("generator", layer, after), nn.ReLU())


def up_block(spec: Spec, before: int, after: int, size: Size) -> nn.Sequential:
    """Return nearest-neighbour upsampling to `size`, and a 3x3 convolution, normalised and with ReLU."""
    return nn.Sequential(nn.Upsample(size), convolution(spec, before, after))


def down_block(spec: Spec, player: Player, before: int, after: int, size: Size, normalized: bool = True) -> nn.Module:
    """Return a 4x4 convolution with stride 2 and LeakyReLU, normalised unless `normalized` is false.

    The feature maps of the result have half of the height and width of `size`, rounded up.
    """
    # For an odd side, the padding after the last pixel is one pixel larger, which rounds the half up.
    pad = nn.ZeroPad2d((1, 1 + size[1] % 2, 1, 1 + size[0] % 2))
    layer = initialized(nn.Conv2d(before, after, 4, stride=2))
    return nn.Sequential(pad, spec.normalize(player, layer, after) if normalized else layer, nn.LeakyReLU(SLOPE))
