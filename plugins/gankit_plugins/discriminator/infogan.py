"""InfoGAN's discriminator for small images: two convolutions and two linear layers (Chen 2016)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import initialized

SLOPE = 0.1
"""Negative slope of LeakyReLU (Chen 2016, appendix C)."""


class InfoGanDiscriminatorNetwork(nn.Module):
    """Network of two convolutions and two linear layers to one logit. Each convolution halves height and width."""

    def __init__(self, spec: Spec, width: int, units: int) -> None:
        super().__init__()
        height, columns = spec.image_size("infogan")
        pixels = (height // 4) * (columns // 4)
        self.body = nn.Sequential(
            halving(spec.channels, width),
            nn.LeakyReLU(SLOPE),
            spec.normalize("discriminator", halving(width, 2 * width), 2 * width),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            spec.normalize("discriminator", initialized(nn.Linear(2 * width * pixels, units)), units),
            nn.LeakyReLU(SLOPE),
        )
        self.head = initialized(nn.Linear(units, 1))

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, units) of images (B, C, H, W). Labels are unused."""
        features = self.body(images)
        return DiscriminatorOutput(self.head(features).flatten(), features)


def halving(before: int, after: int) -> nn.Conv2d:
    """Return a convolution with kernel 4 that halves height and width."""
    return initialized(nn.Conv2d(before, after, 4, stride=2, padding=1))


class InfoGanDiscriminator(Plugin):
    """InfoGAN's discriminator for small images: two convolutions, and two linear layers to one logit.

    Source: Chen 2016, appendix C.1, table 1. The convolutions have 64 and 128 channels, kernel 4 and stride 2. A linear
    layer with 1,024 units follows. All of these layers have LeakyReLU 0.1. The 1,024 units are D's features, which are
    the input of InfoGAN's network Q. The setting `normalization.discriminator` applies to every layer except the first
    and the last (paper: batch norm). Initial weights are from N(0, 0.02^2), as for DCGAN.

    When to use: with the prior `infogan` and the generator `infogan`.
    When not: for images larger than about 32x32; use `dcgan`, which has fewer parameters at these sizes.
    """

    name = "infogan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        units: int = Field(1024, ge=1, description="units of the linear layer, which are the features")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return InfoGanDiscriminatorNetwork(spec, self.config.width, self.config.units)
