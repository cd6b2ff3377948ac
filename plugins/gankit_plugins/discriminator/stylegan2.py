"""StyleGAN2's residual discriminator (Karras 2019)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gankit import Plugin, Spec, hookimpl
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.resampling import FilteredDownsample
from gankit_plugins.layers.style_discriminator import StyleDiscriminator, StyleDiscriminatorSettings, convolutions


class ResidualBlock(nn.Module):
    """Sum of a path of two convolutions and a shortcut, divided by sqrt(2) to keep the variance.

    Source: Karras 2019, section 4.1.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.residual = convolutions(before, after)
        self.shortcut = nn.Sequential(FilteredDownsample(), EqualisedConv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Downsample x (B, before, H, W) to feature maps (B, after, H / 2, W / 2)."""
        return (self.residual(x) + self.shortcut(x)) * math.sqrt(0.5)


class Stylegan2Discriminator(Plugin):
    """StyleGAN2's discriminator: residual blocks that halve the size, and the minibatch standard deviation.

    Source: Karras 2019, section 4, configuration F, with residual blocks. Feature maps of 64x64 and larger have twice
    as many channels as in StyleGAN. The defaults are the paper's values for every size up to 1024x1024. Feature maps of
    side s have 32,768 / s channels, at most 512. A channel with the minibatch standard deviation is appended to the 4x4
    feature maps (Karras 2017, section 3). It is computed in groups of 4 images, as in the authors' code. All images of
    a group are from the same rank and the same gradient-accumulation step. The setting `normalization.discriminator` is
    not used.

    When to use: with the generator `stylegan2`. For classes, add the trick `projection`.
    When not: for images that are not square, or whose side is not a power of two; use `sngan`.
    """

    name = "stylegan2"
    kind = "discriminator"
    Config = StyleDiscriminatorSettings
    config: StyleDiscriminatorSettings

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return StyleDiscriminator(spec, self.config, ResidualBlock, self.name)
