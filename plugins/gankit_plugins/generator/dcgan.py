"""DCGAN's generators: z to an image by transposed convolutions (Radford 2015)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import one_hot, refuse_unlabelled
from gankit_plugins.layers.dcgan import channels_at, doubling, drawn, sides


class DcganGenerator(nn.Module):
    """z, and a class where there are some, projected to a small map and doubled until it is an image.

    Args:
        spec: image and latent sizes.
        width: channels of the last map before the image.
        classes: N that it is told of; 0 for none.
    """

    def __init__(self, spec: Spec, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        sizes = sides(spec.resolution)
        levels = len(sizes) - 1
        channels = channels_at(levels, width)
        # A matrix, written as a transposed convolution from 1x1, so that every normalisation finds channels and pixels.
        projection = drawn(nn.ConvTranspose2d(spec.latent_size + classes, channels, sizes[-1]))
        layers = [nn.Sequential(spec.normalize("generator", projection, channels), nn.ReLU())]
        for level in range(levels - 1, 0, -1):
            fewer = channels_at(level, width)
            layer = doubling(channels, fewer, sizes[level])
            layers.append(nn.Sequential(spec.normalize("generator", layer, fewer), nn.ReLU()))
            channels = fewer
        self.body = nn.Sequential(*layers)
        self.to_image = nn.Sequential(doubling(channels, spec.channels, sizes[0]), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(B, latent_size) and (B,) to (B, C, R, R) in [-1, 1]; without classes labels are not looked at."""
        if self.classes:
            assert labels is not None, "a generator with classes is asked for classes"
            z = torch.cat([z, one_hot(labels, self.classes).to(z.dtype)], dim=1)
        return self.to_image(self.body(z[:, :, None, None]))


class Dcgan(Plugin):
    """DCGAN's generator: z projected to a small map, which strided transposed convolutions double to the image.

    Source: Radford 2015, section 3 and figure 1, for 64x64 with `width` 128: maps of 4x4x1024, 8x8x512, 16x16x256,
    32x32x128 and the image; kernel 5, stride 2. Every layer but the last is normalised as `normalization.generator`
    says (the paper: batch norm) and followed by ReLU, the last one by tanh. Weights begin as N(0, 0.02^2), section 4.

    Here for any square size from 4 up. Maps are halved from the image down, rounding up, until they are 3 or 4 wide:
    28, 14, 7, 4 for MNIST; beyond 64 channels are no longer doubled. Each transposed convolution meets its size
    exactly, nothing is cropped. Norms begin with scales of 1, where the authors' code draws them around 1.

    When to use: the baseline of most GANs, with or without classes in the data.
    When not: to ask for a class: `conditional_dcgan`. For points: `mlp`.
    """

    name = "dcgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the last map before the image")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return DcganGenerator(spec, self.config.width)


class ConditionalDcgan(Plugin):
    """DCGAN's generator, which draws the class that it is asked for.

    Source: Mirza 2014, section 3.2, on the network of Radford 2015. The class joins z as one number for each class, 1
    for its own and 0 for the others. (Radford's code for MNIST adds it to every further layer as well.)

    When to use: classes to be drawn on demand, beside the discriminator of the same name.
    When not: images without labels: `dcgan`.
    """

    name = "conditional_dcgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the last map before the image")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_unlabelled(spec, self.name, "dcgan")
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return DcganGenerator(spec, self.config.width, spec.classes)
