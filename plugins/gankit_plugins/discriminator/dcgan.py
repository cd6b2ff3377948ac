"""DCGAN's discriminators: strided convolutions from an image to one logit (Radford 2015)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import append_planes, require_numbers
from gankit_plugins.layers.dcgan import SLOPE, channels_at, halving, initialized, sizes_of


class DcganDiscriminatorNetwork(nn.Module):
    """Network of strided convolutions, which downsample the image, and a linear layer to one logit.

    With `numbers` > 0, the numbers of the condition are appended to the image as constant channels, one for each
    number. For a class, these numbers are its one-hot vector. With `numbers` = 0, the condition is unused.
    """

    def __init__(self, spec: Spec, width: int, numbers: int = 0) -> None:
        super().__init__()
        self.numbers = numbers
        sizes = sizes_of(spec)
        channels = width
        layers = [nn.Sequential(halving(spec.channels + numbers, width), nn.LeakyReLU(SLOPE))]
        for level in range(2, len(sizes)):
            more = channels_at(level, width)
            layer = spec.normalize("discriminator", halving(channels, more), more)
            layers.append(nn.Sequential(layer, nn.LeakyReLU(SLOPE)))
            channels = more
        self.body = nn.Sequential(*layers)
        self.head = initialized(nn.Linear(channels * math.prod(sizes[-1]), 1))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W).

        The condition is labels (B,) or vectors (B, N).
        """
        if self.numbers:
            assert condition is not None, "a conditional discriminator needs a condition"
            images = append_planes(images, condition, self.numbers)
        features = self.body(images).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class DcganDiscriminator(Plugin):
    """DCGAN's discriminator: strided convolutions and one linear layer at the end, without pooling.

    Source: Radford 2015, sections 3 and 4. The convolutions have kernel 5, stride 2 and LeakyReLU 0.2. Their feature
    maps have the generator's sizes in reverse order. The setting `normalization.discriminator` applies to every
    convolution except the first (paper: batch norm). A linear layer maps the last feature map to one logit. Initial
    weights are from N(0, 0.02^2). The paper has no figure of the discriminator. The default `width` is the width in the
    authors' code for faces. As in the generator, images may have any size of at least 4x4.

    When to use: with the generator `dcgan`. For losses that need a bounded gradient of D, set
    `normalization.discriminator` to `none`, `layer_norm` or `spectral_norm`.
    When not: with a class-conditional generator; use `conditional_dcgan` instead.
    """

    name = "dcgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the first feature map")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return DcganDiscriminatorNetwork(spec, self.config.width)


class ConditionalDcganDiscriminator(DcganDiscriminator):
    """DCGAN's discriminator with the class or attributes as an additional input.

    Source: Mirza 2014, section 3.2, applied to the network of Radford 2015. For each class, one channel is appended to
    the image. The channel of the image's class contains ones, and the channels of all other classes contain zeros.
    Radford's code for MNIST also appends these channels in every further layer. For attributes, one constant channel is
    appended for each number of the condition.

    When to use: with the generator `conditional_dcgan`.
    When not: for images without labels, or with a generator that has no class input; use `dcgan`.
    """

    name = "conditional_dcgan"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_numbers(spec, self.name, "dcgan")

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return DcganDiscriminatorNetwork(spec, self.config.width, require_numbers(spec, self.name, "dcgan"))
