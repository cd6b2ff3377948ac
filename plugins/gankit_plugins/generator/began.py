"""BEGAN's generator: convolutions and nearest-neighbour upsampling, as in the decoder of BEGAN's discriminator."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.began import decoder


class BeganGeneratorNetwork(nn.Module):
    """BEGAN's decoder, followed by tanh."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.decoder = decoder(spec, "generator", width, spec.latent_size)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). Labels are unused."""
        return self.decoder(z).tanh()


class BeganGenerator(Plugin):
    """BEGAN's generator: 3x3 convolutions with ELU, and nearest-neighbour upsampling.

    Source: Berthelot 2017, figure 1: a linear layer maps z to feature maps of 8x8. Two convolutions follow at each
    size. A last convolution maps the largest feature maps to the image. All feature maps have `width` channels. The
    setting `normalization.generator` applies to every convolution except the last (paper: none).

    Here tanh follows the last convolution, because images are in [-1, 1]. If the side is not 8 times a power of two,
    the smallest feature maps have a side from 5 to 8. For images below 8x8, the smallest feature maps have the size of
    the image.

    When to use: with the discriminator `began` and the loss `began`.
    When not: if time is limited, because convolutions at full size make this generator several times as expensive as
    `dcgan`.
    """

    name = "began"
    kind = "generator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="n, channels of all feature maps; paper: 128 for 128x128")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return BeganGeneratorNetwork(spec, self.config.width)
