"""SNGAN's residual generator (Miyato 2018)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.residual import WIDEST, activated, glorot, sizes_of, up_block

SMALLEST = 6
"""Upper limit of the smaller side of G's first feature map, in pixels.

The side is 4 for 32x32 images, and 6 for 48x48 images.
"""


class SnganGenerator(nn.Module):
    """Network that maps z linearly to a small feature map. Residual blocks upsample this map to the image's size."""

    def __init__(self, spec: Spec, width: int, double_channels: bool) -> None:
        super().__init__()
        sizes = sizes_of(spec, "sngan", SMALLEST)
        channels = [width * min(2**level, WIDEST) if double_channels else width for level in range(len(sizes))]
        first = glorot(nn.Linear(spec.latent_size, channels[-1] * math.prod(sizes[-1])))
        self.from_z = nn.Sequential(first, nn.Unflatten(1, (channels[-1], *sizes[-1])))
        levels = range(len(sizes) - 2, -1, -1)
        self.body = nn.Sequential(*(up_block(spec, channels[k + 1], channels[k], sizes[k]) for k in levels))
        last = glorot(nn.Conv2d(channels[0], spec.channels, 3, padding=1))
        self.to_image = nn.Sequential(activated(spec, "generator", channels[0]), last, nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). The condition is unused."""
        return self.to_image(self.body(self.from_z(z)))


class Sngan(Plugin):
    """SNGAN's generator: residual blocks. Each block doubles the size of the feature maps.

    Source: Miyato 2018, appendix B.4. Table 4 describes the network for 32x32 images (`width` 256). It starts from
    4x4x256 feature maps and has three blocks with 256 channels. Tables 5 and 6 describe the networks for 48x48 and
    128x128 images (`width` 64 and `double_channels`). These networks have 64 channels at the image's size, and up to 16
    times as many at smaller sizes. The setting `normalization.generator` applies before every ReLU (paper: batch norm).
    The paper does not give the initial weights. As in the authors' code, the weights are from Glorot's uniform
    distribution, times 2^0.5 in the residual branches.

    Images may have any size of at least 4x4. The image's height and width are halved and rounded up until the smaller
    one is at most 6. This gives the sizes of the feature maps.

    When to use: with the discriminator `sngan`, for deeper networks than `dcgan`. For class-conditional generation, set
    `normalization.generator` to `conditional_batch_norm`.
    When not: for a first quick run; use `dcgan`, which has only one convolution at each size.
    """

    name = "sngan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(256, ge=1, description="channels of the last feature map before the image")
        double_channels: bool = Field(
            False, description="double the channels at each smaller size, up to 16 times; else all have the same number"
        )

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return SnganGenerator(spec, self.config.width, self.config.double_channels)
