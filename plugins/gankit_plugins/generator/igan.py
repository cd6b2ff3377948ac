"""IGAN's generator (Meng 2021, section 1.2, figure 3)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.igan import (
    Upsampling,
    activated,
    convolution,
    enlargement,
    image_layer,
    prime_factors,
    set_sizes,
    single_enlargement,
)


class IganGenerator(nn.Module):
    """Network of three parallel paths from z to the image, whose outputs are added.

    For images of R x R pixels, z is mapped to two sets of feature maps: one of 4x4 and one of R/4 x R/4. R must be a
    multiple of 4. A long path and a shortcut enlarge the first set to R x R, and one layer enlarges the second set.
    With enough `channels`, both sets together have more values than the image. The paper calls such features
    overcomplete.
    """

    def __init__(self, spec: Spec, channels: int, upsampling: Upsampling, normalize_output: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.small, self.large, factor = set_sizes(spec)
        self.to_small = nn.Linear(spec.latent_size, math.prod(self.small) * channels)
        self.to_large = nn.Linear(spec.latent_size, math.prod(self.large) * channels)
        layers: list[nn.Module] = []
        for prime in prime_factors(factor):
            layers.append(activated(spec, "generator", convolution(channels), channels))
            layers.append(activated(spec, "generator", enlargement(channels, prime, upsampling), channels))
        self.long_way = nn.Sequential(*layers)
        self.short_cut = activated(spec, "generator", single_enlargement(channels, factor), channels)
        self.from_large = activated(spec, "generator", single_enlargement(channels, 4), channels)
        self.to_image = image_layer(spec, channels, normalize_output)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). Labels are unused."""
        small = self.to_small(z).view(-1, self.channels, *self.small)
        large = self.to_large(z).view(-1, self.channels, *self.large)
        return self.to_image(self.long_way(small) + self.short_cut(small) + self.from_large(large))


class Igan(Plugin):
    """IGAN's generator: two sets of features, enlarged to an image by three paths whose outputs are added.

    Source: Meng 2021, section 1.2, figure 3, for 96x96 images with 64 channels. Here height and width of an image may
    be any multiples of 4. If height and width differ, the smaller set of features has the aspect ratio of the image.
    For images with side R, the long path enlarges the side from 4 to R by the prime factors of R/4. A 3x3 convolution
    comes before each enlargement. The shortcut is one transposed convolution with kernel and stride R/4. It passes
    gradients even if the gradients of the long path vanish. The setting `normalization.generator` applies to every
    convolution. LeakyReLU 0.02 follows each convolution except the last, and tanh follows the last convolution.

    When to use: for images without classes, where the single path of DCGAN trains badly.
    When not: if memory is scarce. To generate requested classes, use `igan_vn`.
    """

    name = "igan"
    kind = "generator"

    class Config(Settings):
        channels: int = Field(64, ge=1, description="channels of every feature map")
        upsampling: Upsampling = Field(
            "transposed", description="layers that enlarge: transposed convolutions, or pixel_shuffle (Shi 2016)"
        )
        normalize_output: bool = Field(
            True, description="normalise the last convolution too, as in the paper; DCGAN recommends not to"
        )

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        c = self.config
        return IganGenerator(spec, c.channels, c.upsampling, c.normalize_output)
