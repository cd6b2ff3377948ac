"""The U-Net of pix2pix, from a source image to an image (Isola 2017)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import SLOPE, Size, channels_at, initialized
from gankit_plugins.layers.translation import source_channels, upsampling

DEEPEST = 8
"""Maximum number of downsamplings. The paper has 8 for 256x256 images."""


def sizes_of(size: Size) -> list[Size]:
    """Return the sizes of all feature maps, starting with the image. Each size is half of the last one, rounded down.

    The smaller side of the last feature map is 1, unless there are `DEEPEST` downsamplings before.

    Raises:
        InputError: a side of the image has one pixel.
    """
    if min(size) < 2:
        raise InputError(f"images are {size[0]}x{size[1]}, and pix2pix needs sides of 2 pixels or more; use mlp")
    sizes = [size]
    while min(sizes[-1]) > 1 and len(sizes) <= DEEPEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


class Pix2PixNetwork(nn.Module):
    """Encoder and decoder, in which each decoder layer also takes the encoder's feature maps of the same size.

    Layer k of the encoder is `down[k]`, and layer k of the decoder is `up[k]`. `up[k]` returns feature maps of the size
    of the input of `down[k]`.
    """

    def __init__(self, spec: Spec, width: int, dropout: float, dropout_layers: int) -> None:
        super().__init__()
        sizes = sizes_of(spec.image_size("pix2pix"))
        depth = len(sizes) - 1
        channels = [source_channels(spec, "pix2pix"), *(channels_at(level, width) for level in range(1, depth + 1))]
        down, up = [], []
        for k in range(depth):
            before, after = channels[k], channels[k + 1]
            layer = initialized(nn.Conv2d(before, after, 4, stride=2, padding=1))
            # The last feature map may have one pixel, which normalisation over pixels would set to 0.
            normalized = layer if k in (0, depth - 1) else spec.normalize("generator", layer, after)
            down.append(normalized if k == 0 else nn.Sequential(nn.LeakyReLU(SLOPE), normalized))
            inputs, outputs = after if k == depth - 1 else 2 * after, before if k else spec.channels
            larger = upsampling(inputs, outputs, 4, sizes[k + 1], sizes[k])
            last = nn.Tanh() if k == 0 else nn.Dropout(dropout if depth - k <= dropout_layers else 0)
            up.append(nn.Sequential(nn.ReLU(), spec.normalize("generator", larger, outputs) if k else larger, last))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for source images (B, C', H, W). z is unused."""
        maps = [source]
        for down in self.down:
            maps.append(down(maps[-1]))
        result: Tensor = self.up[-1](maps[-1])
        for k in range(len(self.up) - 2, -1, -1):
            result = self.up[k](torch.cat([maps[k + 1], result], 1))
        return result


class Pix2Pix(Plugin):
    """Pix2pix's generator: a U-Net from the source image to an image of the same size.

    Source: Isola 2017, section 3.2.1 and appendix 6.1.1. For 256x256 images and `width` 64, the encoder is
    C64-C128-C256-C512-C512-C512-C512-C512, with 4x4 convolutions of stride 2, and the decoder mirrors it. Each decoder
    layer also takes the encoder's feature maps of the same size (skip connections). The setting
    `normalization.generator` applies to every layer except the encoder's first and last layer and the decoder's last
    layer (paper: batch norm, or instance norm with batches of one image). In the paper, a footnote leaves out the
    encoder's last layer. Dropout with probability 0.5 follows the first three layers of the decoder. Initial weights
    are from N(0, 0.02^2).

    Here images may have any size: the feature maps are halved, rounded down, until the smaller side is 1, at most eight
    times. z is unused, so dropout is the only noise. The paper applies dropout in samples too, and reports that the
    samples hardly vary. Here dropout acts in training only, so that a source image always gives the same sample.

    When to use: with pairs whose source image and target have the same outlines, the discriminator
    `conditional_patchgan` and the trick `l1_to_target`.
    When not: without pairs (use `cyclegan`), or if one source image has very different targets.
    """

    name = "pix2pix"
    kind = "generator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        dropout: float = Field(0.5, ge=0, lt=1, description="proportion of values that are dropped in training")
        dropout_layers: int = Field(3, ge=0, description="number of decoder layers with dropout, from the smallest map")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        source_channels(spec, self.name)
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return Pix2PixNetwork(spec, self.config.width, self.config.dropout, self.config.dropout_layers)
