"""IGAN's generator (Meng 2021, section 1.2, figure 3)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.common import (
    Upsampling,
    activated,
    convolution,
    enlargement,
    image_layer,
    prime_factors,
    quarter,
    single_enlargement,
)


class IganGenerator(nn.Module):
    """z to an image by three ways that are added up.

    z becomes two sets of features, one of 4x4, one of R/4 x R/4. The first goes to R x R by a long way and by a
    short cut, the second by one step. Together the two sets are larger than the image when `channels` are enough:
    overcomplete, in the paper's words.

    Args:
        spec: image and latent sizes; the resolution R is a multiple of 4.
        channels: of every feature map.
        upsampling: how the long way enlarges.
        normalize_output: whether the last convolution is normalised too.
    """

    def __init__(self, spec: Spec, channels: int, upsampling: Upsampling, normalize_output: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.side = quarter(spec.resolution)
        self.to_small = nn.Linear(spec.latent_size, 4 * 4 * channels)
        self.to_large = nn.Linear(spec.latent_size, self.side**2 * channels)
        layers: list[nn.Module] = []
        for factor in prime_factors(self.side):
            layers.append(activated(spec, "generator", convolution(channels), channels))
            layers.append(activated(spec, "generator", enlargement(channels, factor, upsampling), channels))
        self.long_way = nn.Sequential(*layers)
        self.short_cut = activated(spec, "generator", single_enlargement(channels, self.side), channels)
        self.from_large = activated(spec, "generator", single_enlargement(channels, 4), channels)
        self.to_image = image_layer(spec, channels, normalize_output)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(B, latent_size) to (B, C, R, R) in [-1, 1]; labels are not looked at."""
        small = self.to_small(z).view(-1, self.channels, 4, 4)
        large = self.to_large(z).view(-1, self.channels, self.side, self.side)
        return self.to_image(self.long_way(small) + self.short_cut(small) + self.from_large(large))


class Igan(Plugin):
    """IGAN's generator: two maps of features, grown to an image by three ways that are added up.

    Source: Meng 2021, section 1.2, figure 3, for 96x96 images with 64 channels; here for any size that is a
    multiple of 4. The long way multiplies 4 up to R by the prime factors of R/4, a 3x3 convolution before each
    step. The short cut, one transposed convolution of kernel and stride R/4, keeps gradients alive where the
    long way gives none. Every convolution is normalised as `normalization.generator` says and followed by
    LeakyReLU 0.02, the last one by tanh.

    When to use: images without classes, where DCGAN's single way trains badly.
    When not: several classes to be drawn on demand (`igan_vn`), or very little memory.
    """

    name = "igan"
    kind = "generator"

    class Config(Settings):
        channels: int = Field(64, ge=1, description="of every feature map")
        upsampling: Upsampling = Field(
            "transposed", description="the long way's steps: transposed convolutions, or pixel_shuffle (Shi 2016)"
        )

        normalize_output: bool = Field(
            True, description="normalise the last convolution too, as the paper does and DCGAN advises against"
        )

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        c = self.config
        return IganGenerator(spec, c.channels, c.upsampling, c.normalize_output)
