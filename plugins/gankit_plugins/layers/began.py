"""Encoder and decoder of BEGAN."""

from __future__ import annotations

import math

from torch import nn

from gankit import Player, Spec
from gankit_plugins.layers.dcgan import Size, half

SMALLEST = 8
"""Maximum length, in pixels, of the smaller side of the encoder's last feature maps.

A linear layer maps these feature maps to the code.
"""

REPETITIONS = 2
"""Number of convolutions at each size of the feature maps."""


def sizes_of(spec: Spec) -> list[Size]:
    """Return the sizes of the encoder's feature maps, from the image to the first size whose smaller side is at most 8.

    Each size is half of the previous size, rounded up: 64, 32, 16, 8 for 64x64 images, and 28, 14, 7 for 28x28 images.
    """
    sizes = [spec.image_size("began")]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(half(sizes[-1]))
    return sizes


def activated(spec: Spec, player: Player, before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with the recipe's normalisation, followed by ELU."""
    layer = nn.Conv2d(before, after, 3, stride, padding=1)
    return nn.Sequential(spec.normalize(player, layer, after), nn.ELU())


def encoder(spec: Spec, width: int, code: int) -> nn.Sequential:
    """Return D's encoder, which maps images (B, C, H, W) to codes (B, code).

    Convolutions with stride 2 halve height and width. After k halvings, the feature maps have (k + 1) * width channels.
    The first convolution of the encoder has no normalisation.
    """
    layers = [nn.Sequential(nn.Conv2d(spec.channels, width, 3, padding=1), nn.ELU())]
    sizes, channels = sizes_of(spec), width
    for level in range(len(sizes)):
        more = (level + 1) * width
        layers.append(activated(spec, "discriminator", channels, more, stride=1 if level == 0 else 2))
        layers += [activated(spec, "discriminator", more, more) for _ in range(REPETITIONS - 1)]
        channels = more
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sizes[-1]), code))


def decoder(spec: Spec, player: Player, width: int, code: int) -> nn.Sequential:
    """Return a decoder that maps codes (B, code) to images (B, C, H, W). All feature maps have `width` channels.

    Nearest-neighbour upsampling gives the sizes of the encoder's feature maps, in reverse order. The last convolution
    has no activation.
    """
    small, *larger = reversed(sizes_of(spec))
    layers: list[nn.Module] = [nn.Linear(code, width * math.prod(small)), nn.Unflatten(1, (width, *small))]
    layers += [activated(spec, player, width, width) for _ in range(REPETITIONS)]
    for size in larger:
        layers.append(nn.Upsample(size))
        layers += [activated(spec, player, width, width) for _ in range(REPETITIONS)]
    return nn.Sequential(*layers, nn.Conv2d(width, spec.channels, 3, padding=1))
