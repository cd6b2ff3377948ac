"""StackGAN's discriminator: strided convolutions, joined with the features of a text (Zhang 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, RecipeInfo, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import initialized
from gankit_plugins.layers.stackgan import SLOPE, down_block, sizes_of
from gankit_plugins.layers.text import condition_encoder

SIDE, WIDEST = 4, 8
"""Md, the side of the last feature map in pixels, and maximum number of channels as a multiple of `width`."""


class StackGanDiscriminatorNetwork(nn.Module):
    """Network that maps an image and a text to one logit.

    The image becomes feature maps of 4x4 pixels. The text's features are appended to each pixel. A 1x1 convolution and
    a linear layer follow.
    """

    def __init__(self, spec: Spec, config: StackGanDiscriminator.Config) -> None:
        super().__init__()
        sizes = sizes_of(spec.image_size("stackgan"), SIDE, 1)
        channels = [spec.channels, *(config.width * min(2**level, WIDEST) for level in range(len(sizes) - 1))]
        self.body = nn.Sequential(
            *(
                down_block(spec, "discriminator", channels[i], channels[i + 1], sizes[i], normalized=i > 0)
                for i in range(len(sizes) - 1)
            )
        )
        self.text = condition_encoder(spec, "stackgan", config.text_size)
        self.compress = nn.Sequential(nn.Linear(self.text.size, config.compressed_size), nn.LeakyReLU(SLOPE))
        last = channels[-1]
        joint = initialized(nn.Conv2d(last + config.compressed_size, last, 1))
        self.joint = nn.Sequential(spec.normalize("discriminator", joint, last), nn.LeakyReLU(SLOPE))
        self.head = initialized(nn.Linear(last * math.prod(sizes[-1]), 1))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W) and their condition, such as tokens (B, T)."""
        assert condition is not None, "a conditional discriminator needs a condition"
        maps = self.body(images)
        text = self.compress(self.text(condition))[:, :, None, None].to(maps.dtype)
        features = self.joint(torch.cat([maps, text.expand(-1, -1, *maps.shape[2:])], 1)).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class StackGanDiscriminator(Plugin):
    """StackGAN's discriminator for both stages: strided convolutions, joined with the features of a text.

    Source: Zhang 2017, sections 3.3 and 3.4. Convolutions with kernel 4 and stride 2 reduce the image to 4x4 pixels
    (Md = 4), with more of them for the larger images of stage 2. The features of the text are compressed to Nd = 128
    numbers and appended to each of these pixels. A 1x1 convolution and a linear layer to one logit follow. LeakyReLU
    0.2 follows each convolution. The setting `normalization.discriminator` applies to all convolutions except the first
    one (paper: batch norm).

    The paper uses the sentence embeddings of a trained encoder. Here, the encoder is a convolution over the words that
    D learns (Kim 2014). Numbers, such as sentence embeddings, and classes are used directly. The paper does not give
    the numbers of channels. Here, they are those of DCGAN: `width`, doubled at each convolution, up to 8 times.

    When to use: with the generators `stackgan` and `stackgan2`, and the trick `mismatched_pairs`.
    When not: for images without a condition; use `dcgan`.
    """

    name = "stackgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        text_size: int = Field(128, ge=1, description="features of a text, if the condition is a text")
        compressed_size: int = Field(128, ge=1, description="Nd: numbers to which the text's features are compressed")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not recipe.uses("mismatched_pairs"):
            yield "D can ignore the text, because it sees no wrong text; add [tricks.mismatched_pairs]"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        condition_encoder(spec, self.name, self.config.text_size)

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return StackGanDiscriminatorNetwork(spec, self.config)
