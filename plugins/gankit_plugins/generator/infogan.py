"""InfoGAN's generator for small images: two linear layers, then two transposed convolutions (Chen 2016)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import initialized


class InfoGanGeneratorNetwork(nn.Module):
    """Network that maps z to feature maps with 1/4 of the image's height and width, and doubles their size twice."""

    def __init__(self, spec: Spec, width: int, units: int) -> None:
        super().__init__()
        height, columns = spec.image_size("infogan")
        if height % 4 or columns % 4:
            raise InputError(
                f"images are {height}x{columns}, and infogan needs sides that are multiples of 4; use dcgan"
            )
        self.shape = (2 * width, height // 4, columns // 4)
        pixels = self.shape[1] * self.shape[2]
        self.hidden = nn.Sequential(
            spec.normalize("generator", initialized(nn.Linear(spec.latent_size, units)), units),
            nn.ReLU(),
            # The normalisation has one scale for each unit, not one for each channel of the feature map.
            spec.normalize("generator", initialized(nn.Linear(units, 2 * width * pixels)), 2 * width * pixels),
            nn.ReLU(),
        )
        self.body = nn.Sequential(spec.normalize("generator", doubling(2 * width, width), width), nn.ReLU())
        self.to_image = nn.Sequential(doubling(width, spec.channels), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). Labels are unused."""
        return self.to_image(self.body(self.hidden(z).view(-1, *self.shape)))


def doubling(before: int, after: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution with kernel 4 that doubles height and width."""
    return initialized(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))


class InfoGanGenerator(Plugin):
    """InfoGAN's generator for small images: two linear layers, then two transposed convolutions.

    Source: Chen 2016, appendix C.1, table 1. For 28x28 images, the first linear layer maps z to 1,024 units, and the
    second one maps these units to 7x7x128 feature maps. The transposed convolutions have kernel 4 and stride 2, and
    return 14x14x64 feature maps and the image. The setting `normalization.generator` applies to every layer except the
    last (paper: batch norm). ReLU follows each of these layers. Here the activation of the last layer is tanh, because
    images are in [-1, 1]. The sides of images may be any multiples of 4. Initial weights are from N(0, 0.02^2), as for
    DCGAN.

    When to use: with the prior `infogan` and the discriminator `infogan`.
    When not: for images larger than about 32x32; use `dcgan`, which has fewer parameters at these sizes.
    """

    name = "infogan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the last feature map before the image")
        units: int = Field(1024, ge=1, description="units of the first linear layer")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return InfoGanGeneratorNetwork(spec, self.config.width, self.config.units)
