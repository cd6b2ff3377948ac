"""DCGAN's generators: transposed convolutions from z to an image (Radford 2015)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, require_numbers
from gankit_plugins.layers.dcgan import channels_at, doubling, initialized, sizes_of


class DcganGenerator(nn.Module):
    """Network that maps z and N numbers of a condition to a small feature map, and upsamples it to the image's size.

    For a class, the N numbers are its one-hot vector. With N = `numbers` = 0, the condition is unused.
    """

    def __init__(self, spec: Spec, width: int, numbers: int = 0) -> None:
        super().__init__()
        self.numbers = numbers
        sizes = sizes_of(spec)
        levels = len(sizes) - 1
        channels = channels_at(levels, width)
        # Use a transposed convolution of a 1x1 map as the linear layer, because normalisation then gets a feature map.
        projection = initialized(nn.ConvTranspose2d(spec.latent_size + numbers, channels, sizes[-1]))
        layers = [nn.Sequential(spec.normalize("generator", projection, channels), nn.ReLU())]
        for level in range(levels - 1, 0, -1):
            fewer = channels_at(level, width)
            layer = doubling(channels, fewer, sizes[level])
            layers.append(nn.Sequential(spec.normalize("generator", layer, fewer), nn.ReLU()))
            channels = fewer
        self.body = nn.Sequential(*layers)
        self.to_image = nn.Sequential(doubling(channels, spec.channels, sizes[0]), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and the condition.

        The condition is labels (B,) or vectors (B, N).
        """
        if self.numbers:
            assert condition is not None, "a conditional generator needs a condition"
            z = torch.cat([z, numbers_of(condition, self.numbers).to(z.dtype)], dim=1)
        return self.to_image(self.body(z[:, :, None, None]))


class Dcgan(Plugin):
    """DCGAN's generator: strided transposed convolutions from a small feature map to the image.

    Source: Radford 2015, section 3 and figure 1. For 64x64 images and `width` 128, the feature maps are 4x4x1024,
    8x8x512, 16x16x256 and 32x32x128. The transposed convolutions have kernel 5 and stride 2. The setting
    `normalization.generator` applies to every layer except the last (paper: batch norm). ReLU follows each of these
    layers, and tanh follows the last layer. Initial weights are from N(0, 0.02^2) (section 4).

    Here images may have any size of at least 4x4. The image's height and width are halved and rounded up until the
    smaller one is at most 4. This gives the sizes of the feature maps. For MNIST, the sides are 28, 14, 7 and 4. A
    layer has at most 8 times `width` channels. Transposed convolutions produce the exact output size, without cropping.
    The initial scales of normalisation layers are 1. The authors' code draws them from a normal distribution around 1.

    When to use: as a baseline, with or without classes in the data.
    When not: to generate requested classes; use `conditional_dcgan`. For points, use `mlp`.
    """

    name = "dcgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the last feature map before the image")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return DcganGenerator(spec, self.config.width)


class ConditionalDcgan(Dcgan):
    """DCGAN's generator with the class or attributes as an additional input.

    Source: Mirza 2014, section 3.2, applied to Radford 2015's network. The class is appended to z as a one-hot vector.
    Radford's code for MNIST also appends the vector in every further layer. Attributes (several numbers as the
    condition of an image) are appended unchanged.

    When to use: to generate requested classes or attributes, with the discriminator `conditional_dcgan`.
    When not: for images without labels; use `dcgan`.
    """

    name = "conditional_dcgan"
    mixes_classes = True

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_numbers(spec, self.name, "dcgan")
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return DcganGenerator(spec, self.config.width, require_numbers(spec, self.name, "dcgan"))
