"""Discriminators with a logit for each patch of the image, with and without the source image (Isola 2017)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import SLOPE, channels_at, initialized
from gankit_plugins.layers.translation import source_channels

Patch = Literal[1, 16, 34, 70, 142, 286]

HALVINGS: dict[Patch, int] = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Number of convolutions with stride 2, by the side of a patch in pixels."""


def check_patch(spec: Spec, name: str, patch: Patch) -> None:
    """Raise InputError if images are too small for the convolutions of a discriminator with this patch."""
    height, width = spec.image_size(name)
    smallest = 1 if patch == 1 else 3 * 2 ** HALVINGS[patch]
    if min(height, width) < smallest:
        raise InputError(
            f"patch: patches of {patch} pixels need images of at least {smallest}x{smallest}, and these are "
            f"{height}x{width}; set a smaller patch: {', '.join(map(str, HALVINGS))}"
        )


class PatchNetwork(nn.Module):
    """Convolutions to a map of logits, each of which depends on one patch of the input.

    With `source_channels` > 0, the input is the source image and the image together. Otherwise the condition is unused.
    """

    def __init__(self, spec: Spec, width: int, patch: Patch, source_channels: int = 0) -> None:
        super().__init__()
        self.source_channels = source_channels
        halvings = HALVINGS[patch]
        # A convolution with kernel 1 for each pixel, or convolutions with kernel 4. The last two have stride 1.
        kernel, padding = (4, 1) if halvings else (1, 0)
        channels = source_channels + spec.channels
        layers: list[nn.Module] = []
        for level in range(1, max(halvings, 1) + 2):
            stride, more = 2 if level <= halvings else 1, channels_at(level, width)
            layer = initialized(nn.Conv2d(channels, more, kernel, stride, padding))
            layers += [layer if level == 1 else spec.normalize("discriminator", layer, more), nn.LeakyReLU(SLOPE)]
            channels = more
        self.body = nn.Sequential(*layers)
        self.head = initialized(nn.Conv2d(channels, 1, kernel, 1, padding))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B, H', W') and features (B, F) of images (B, C, H, W) with source images (B, C', H, W)."""
        if self.source_channels:
            assert condition is not None, "a conditional discriminator needs a condition"
            images = torch.cat([condition.to(images.dtype), images], 1)
        features = self.body(images)
        return DiscriminatorOutput(self.head(features).squeeze(1), features.flatten(1))


class PatchGan(Plugin):
    """Pix2pix's discriminator without the source image: a logit for each patch of the image (PatchGAN).

    Source: Isola 2017, section 3.2.2 and appendix 6.1.2; Zhu 2017, appendix 7.2. With `patch` 70 and `width` 64, the
    network is C64-C128-C256-C512: 4x4 convolutions with LeakyReLU 0.2, of which the first three have stride 2. A
    convolution to one logit follows. A logit depends on 70x70 pixels of the image. The other patches of the paper are 1
    (convolutions with kernel 1), 16 and 286. The setting `normalization.discriminator` applies to every layer except
    the first and the last (pix2pix: batch norm, CycleGAN: instance norm). Losses are means over all logits. Initial
    weights are from N(0, 0.02^2).

    When to use: with the trick `cycle_consistency`, and for sharp textures.
    When not: with pairs of a source image and a target; use `conditional_patchgan`.
    """

    name = "patchgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")
        patch: Patch = Field(70, description="side of the patch that a logit depends on, in pixels")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        check_patch(spec, self.name, self.config.patch)

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return PatchNetwork(spec, self.config.width, self.config.patch)


class ConditionalPatchGan(PatchGan):
    """Pix2pix's discriminator: a logit for each patch of the source image and the image together (PatchGAN).

    Source: Isola 2017, equation 1, section 3.2.2 and appendix 6.1.2. The network is that of `patchgan`. Its input is
    the source image and the image, concatenated along the channels. So D also detects images that do not fit their
    source image.

    When to use: with pairs of a source image and a target, the generator `pix2pix` and the trick `l1_to_target`.
    When not: without pairs; use `patchgan`.
    """

    name = "conditional_patchgan"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        source_channels(spec, self.name)
        check_patch(spec, self.name, self.config.patch)

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return PatchNetwork(spec, self.config.width, self.config.patch, source_channels(spec, self.name))
