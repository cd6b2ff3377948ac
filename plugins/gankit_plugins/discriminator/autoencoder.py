"""Discriminators that are autoencoders. The logit of an image is its negative reconstruction error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, RecipeInfo, Settings, Spec, hookimpl
from gankit_plugins.layers.began import decoder, encoder
from gankit_plugins.layers.dcgan import SLOPE, channels_at, doubling, half, halving


def squared_error(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared difference between each image and its reconstruction, (B,).

    Both arguments have the shape (B, C, H, W).
    """
    return (reconstruction - images).square().flatten(1).mean(1)


def absolute_error(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Return the mean absolute difference between each image and its reconstruction, (B,).

    Both arguments have the shape (B, C, H, W).

    Source:
        Berthelot 2017, section 3.1 with eta = 1, as a mean over the values of the image.
    """
    return (reconstruction - images).abs().flatten(1).mean(1)


class AutoencoderNetwork(nn.Module):
    """Autoencoder as a discriminator. The logit of an image is its negative reconstruction error.

    Args:
        encoder: network that maps images (B, C, H, W) to codes (B, F).
        decoder: network that maps codes (B, F) to reconstructions (B, C, H, W).
        error: function that maps reconstructions and images to the errors of the images (B,).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, error: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.error = error

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return the logits (B,) of images (B, C, H, W), and their codes (B, F) as features. Labels are unused.

        `extra["reconstruction"]` contains the reconstructions of the images, (B, C, H, W).
        """
        code = self.encoder(images)
        reconstruction = self.decoder(code)
        # Use float32, because bfloat16 has only about three significant digits, which are too few for small errors.
        reconstruction = reconstruction.to(torch.promote_types(reconstruction.dtype, torch.float32))
        return DiscriminatorOutput(-self.error(reconstruction, images), code, {"reconstruction": reconstruction})


class Autoencoder(Plugin):
    """Base class of discriminators whose logits are negative reconstruction errors."""

    kind = "discriminator"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("loss").uses_targets:
            yield (
                "the logits are minus a reconstruction error, so they are never positive, and the loss "
                f"{recipe.use_of('loss')!r} has a target for them; use the loss ebgan or began"
            )
        if recipe.uses("instance_noise"):
            yield (
                "instance_noise adds noise that an autoencoder cannot reconstruct, so the error of real images stays "
                "above the noise; remove one of the two"
            )


class EbganDiscriminator(Autoencoder):
    """EBGAN's discriminator: an autoencoder of strided and transposed convolutions, with the squared error.

    Source: Zhao 2016, section 2.3 and figure 1. D's features are the code. The layers are the same as in DCGAN (Radford
    2015). Each halving of the side doubles the channels, up to 8 * `width`. LeakyReLU 0.2 follows each convolution of
    the encoder. The feature maps of the decoder have the same sizes in reverse order. Its activation is ReLU. The
    setting `normalization.discriminator` applies to every convolution except the first and the last. The error is the
    mean of the squared differences, so the margin of the loss `ebgan` is independent of the size of the image.

    When to use: with the loss `ebgan`.
    When not: with a loss that has target values for the logits, such as `non_saturating`, because the logits are never
    positive.
    """

    name = "ebgan"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        halvings: int = Field(3, ge=1, le=8, description="number of convolutions before the code; each halves the side")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        sizes, channels = [spec.image_size(self.name)], [spec.channels]
        for level in range(1, self.config.halvings + 1):
            sizes.append(half(sizes[-1]))
            channels.append(channels_at(level, self.config.width))
        down: list[nn.Module] = [halving(*channels[:2]), nn.LeakyReLU(SLOPE)]
        for before, after in pairwise(channels[1:]):
            down += [spec.normalize("discriminator", halving(before, after), after), nn.LeakyReLU(SLOPE)]
        up: list[nn.Module] = [nn.Unflatten(1, (channels[-1], *sizes[-1]))]
        for level in range(self.config.halvings - 1, 0, -1):
            layer = doubling(channels[level + 1], channels[level], sizes[level])
            up += [spec.normalize("discriminator", layer, channels[level]), nn.ReLU()]
        up.append(doubling(channels[1], channels[0], sizes[0]))
        return AutoencoderNetwork(nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up), squared_error)


class BeganDiscriminator(Autoencoder):
    """BEGAN's discriminator: an autoencoder of 3x3 convolutions with ELU and the absolute error.

    Source: Berthelot 2017, section 3.1 with eta = 1, and figure 1. D's features are the code h. The encoder has one
    convolution to `width` channels, then two convolutions at each size, down to 8x8. Each halving of the side adds
    `width` channels. A linear layer without activation maps the last feature map to the code, and another one maps the
    code to the decoder's first feature map. The decoder has `width` channels and nearest-neighbour upsampling. The
    setting `normalization.discriminator` applies to every convolution except the first and the last (paper: none).

    The error is the mean over the values of the image. If the side is not 8 times a power of two, the smallest feature
    maps have a side from 5 to 8. For images below 8x8, they have the image's size.

    When to use: with the generator `began` and the loss `began`.
    When not: with a loss that has target values for the logits, such as `non_saturating`, because the logits are never
    positive.
    """

    name = "began"

    class Config(Settings):
        width: int = Field(64, ge=1, description="n, channels of the first feature map; paper: 128 for 128x128")
        code: int = Field(64, ge=1, description="size of the code h")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        c = self.config
        return AutoencoderNetwork(
            encoder(spec, c.width, c.code), decoder(spec, "discriminator", c.width, c.code), absolute_error
        )
