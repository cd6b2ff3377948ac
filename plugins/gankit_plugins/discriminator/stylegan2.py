"""StyleGAN2's residual discriminator (Karras 2019)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gankit import Plugin, Spec, hookimpl
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.resampling import FilteredDownsample
from gankit_plugins.layers.style_discriminator import StyleDiscriminator, StyleDiscriminatorSettings, convolutions


class ResidualBlock(nn.Module):
    """Sum of two convolutions and a shortcut, divided by sqrt(2) to keep the variance (Karras 2019, section 4.1)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.residual = convolutions(before, after)
        self.shortcut = nn.Sequential(FilteredDownsample(), EqualisedConv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (B, after, H / 2, W / 2) for x, (B, before, H, W)."""
        return (self.residual(x) + self.shortcut(x)) * math.sqrt(0.5)


class Stylegan2Discriminator(Plugin):
    """StyleGAN2's discriminator: residual blocks that halve the size, and the minibatch standard deviation.

    Source: Karras 2019, section 4, configuration F: residual blocks, and twice as many channels from 64x64 on as in
    StyleGAN. The defaults are those of the paper at every size up to 1024x1024. Feature maps of side s have 32,768 / s
    channels, at most 512. The standard deviation is appended at 4x4 (Karras 2017, section 3), in groups of 4 images, as
    in the authors' code. With several ranks or `train.accumulate`, all images of a group are from the same rank and
    part. `normalization.discriminator` is not used.

    When to use: with the generator of the same name. For classes, add the trick `projection`.
    When not: for images whose sides are not equal or no powers of two; use `sngan`.
    """

    name = "stylegan2"
    kind = "discriminator"
    Config = StyleDiscriminatorSettings
    config: StyleDiscriminatorSettings

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return StyleDiscriminator(spec, self.config, ResidualBlock, self.name)
