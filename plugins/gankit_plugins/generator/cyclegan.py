"""The residual generator of CycleGAN, from a source image to an image (Johnson 2016; Zhu 2017)."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import half, initialized
from gankit_plugins.layers.residual import ResidualBlock
from gankit_plugins.layers.translation import source_channels, upsampling

SMALLEST = 5
"""Minimum height and width of an image. After two halvings, reflection padding needs at least 2 pixels."""

LEVELS = 2
"""Number of downsamplings, and of upsamplings."""


def reflecting(before: int, after: int, kernel: int) -> nn.Conv2d:
    """Return a convolution that keeps the size, with reflection padding."""
    return initialized(nn.Conv2d(before, after, kernel, padding=kernel // 2, padding_mode="reflect"))


class CycleGanNetwork(nn.Module):
    """Convolutions that halve the size twice, residual blocks, and transposed convolutions that double it twice."""

    def __init__(self, spec: Spec, width: int, blocks: int) -> None:
        super().__init__()
        sizes = [spec.image_size("cyclegan")]
        if min(sizes[0]) < SMALLEST:
            raise InputError(
                f"images are {sizes[0][0]}x{sizes[0][1]}, and cyclegan needs {SMALLEST} pixels or more; use pix2pix"
            )
        for _ in range(LEVELS):
            sizes.append(half(sizes[-1]))

        def activated(layer: nn.Module, channels: int) -> nn.Sequential:
            return nn.Sequential(spec.normalize("generator", layer, channels), nn.ReLU())

        channels = [width * 2**level for level in range(LEVELS + 1)]
        self.encoder = nn.Sequential(
            activated(reflecting(source_channels(spec, "cyclegan"), width, 7), width),
            *(activated(initialized(nn.Conv2d(a, b, 3, 2, 1)), b) for a, b in pairwise(channels)),
        )
        wide = channels[-1]
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    nn.Sequential(
                        activated(reflecting(wide, wide, 3), wide),
                        spec.normalize("generator", reflecting(wide, wide, 3), wide),
                    ),
                    nn.Identity(),
                )
                for _ in range(blocks)
            )
        )
        self.decoder = nn.Sequential(
            *(
                activated(upsampling(channels[k + 1], channels[k], 3, sizes[k + 1], sizes[k]), channels[k])
                for k in range(LEVELS - 1, -1, -1)
            ),
            reflecting(width, spec.channels, 7),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for source images (B, C', H, W). z is unused."""
        result: Tensor = self.decoder(self.blocks(self.encoder(source)))
        return result


class CycleGan(Plugin):
    """CycleGAN's generator: a residual network from the source image to an image of the same size.

    Source: Johnson 2016; Zhu 2017, appendix 7.2. With `width` 64, the network is c7s1-64, d128, d256, R256 (`blocks`
    times), u128, u64, c7s1-3: a 7x7 convolution, two 3x3 convolutions of stride 2, residual blocks with two 3x3
    convolutions, two transposed 3x3 convolutions of stride 2, and a 7x7 convolution with tanh. The padding is by
    reflection. The paper has 9 blocks for images of 256x256 pixels and more, and 6 for 128x128. The setting
    `normalization.generator` applies to every layer except the last (paper: instance norm). Initial weights are from
    N(0, 0.02^2). Here images may have any size of at least 5x5. z is unused.

    When to use: with the trick `cycle_consistency`, or with pairs whose images differ in texture and colour.
    When not: if the outlines must be exact and there are pairs; use `pix2pix`, which has skip connections.
    """

    name = "cyclegan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        blocks: int = Field(9, ge=1, description="number of residual blocks")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        source_channels(spec, self.name)
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return CycleGanNetwork(spec, self.config.width, self.config.blocks)
