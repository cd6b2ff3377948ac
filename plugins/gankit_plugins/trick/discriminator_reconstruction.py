"""Self-supervised discriminator: small decoders reconstruct real images from D's feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import (
    DiscriminatorOutput,
    ExtraNetwork,
    InputError,
    LossTerm,
    Player,
    Plugin,
    RecipeInfo,
    Run,
    Scheduled,
    Settings,
    Spec,
    Step,
    hookimpl,
)
from gankit_plugins.layers.dcgan import Size, half, initialized
from gankit_plugins.layers.fastgan import up_block
from gankit_plugins.layers.forward_hooks import forward_hooks
from gankit_plugins.layers.probe import feature_maps, probe
from gankit_plugins.trick.self_attention import nearest

DECODERS = "reconstruction_decoders"
"""Name of the decoders in `run.networks`."""

PART, WHOLE = "map_of_part", "map_of_whole"
"""Names of two feature maps (B, C, H, W) in `DiscriminatorOutput.extra`.

A quarter of the image is reconstructed from the first map, and the whole image from the second map.
"""

MOST_DOUBLINGS = 4
"""Maximum number of times that a decoder doubles height and width (Liu 2021, section 3.2)."""


def quarter(x: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Return one of the four quarters of each image or feature map.

    If a side is odd, neighbouring quarters share the row or column in the middle.

    Args:
        x: images or feature maps, (B, C, H, W).
        bottom: bool tensor (B,), True for a quarter at the bottom.
        right: bool tensor (B,), True for a quarter at the right.

    Returns:
        Quarters (B, C, H / 2, W / 2), with sides rounded up.
    """
    height, width = half((x.shape[2], x.shape[3]))
    x = torch.where(bottom[:, None, None, None], x[:, :, -height:], x[:, :, :height])
    return torch.where(right[:, None, None, None], x[..., -width:], x[..., :width])


def reconstruction_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Return the mean absolute difference between reconstructions and resized images.

    The images are resized to the size of the reconstructions.

    Source: Liu 2021, equation 2, with the L1 norm, as a mean over all values.

    Args:
        reconstruction: reconstructed images, (B, C, h, w).
        images: original images, (B, C, H, W).

    Returns:
        A scalar in float32 or a wider type.
    """
    resized = F.adaptive_avg_pool2d(images, (reconstruction.shape[2], reconstruction.shape[3]))
    return (reconstruction.to(torch.promote_types(reconstruction.dtype, torch.float32)) - resized).abs().mean()


def decoder(spec: Spec, channels: int, width: int, size: Size, target: Size, out_channels: int) -> nn.Sequential:
    """Return a decoder from feature maps to images, which doubles height and width one to four times.

    A 3x3 convolution follows each upsampling. The output is not larger than the target, unless there is only one
    upsampling.

    Args:
        spec: specification with the normalisation of D.
        channels: number of channels of the feature maps.
        width: number of input channels of the last convolution. Each earlier convolution has twice as many as the next
            one.
        size: size of the feature maps, in pixels.
        target: size of the images to reconstruct, in pixels.
        out_channels: number of channels of the images.
    """
    doublings = min(max(int(math.log2(min(target) / min(size))), 1), MOST_DOUBLINGS)
    layers: list[nn.Module] = []
    for k in range(1, doublings):
        fewer, larger = width * 2 ** (doublings - 1 - k), (size[0] << k, size[1] << k)
        layers.append(up_block(spec, "discriminator", channels, fewer, larger))
        channels = fewer
    # The last convolution has no activation, because augmented images may have values outside [-1, 1].
    last = initialized(nn.Conv2d(channels, out_channels, 3, padding=1))
    return nn.Sequential(*layers, nn.Upsample((size[0] << doublings, size[1] << doublings)), last)


class Decoders(nn.Module):
    """Network of two decoders: one for quarters of images, and one for whole images."""

    def __init__(self, part: nn.Module, whole: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.whole = whole

    def forward(self, part: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct a quarter, (B, C, h, w), and a whole image, (B, C, h', w'), from one feature map each."""
        return self.part(part), self.whole(whole)


class MappingDiscriminator(nn.Module):
    """Discriminator that also returns the feature maps of two modules, as the entries PART and WHOLE of `extra`."""

    def __init__(self, network: nn.Module, part: str, whole: str) -> None:
        super().__init__()
        self.network = network
        self.modules_by_output = {PART: part, WHOLE: whole}

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return the output of D for images (B, C, H, W) and their condition, with the two feature maps in `extra`."""
        maps: dict[str, Tensor] = {}
        names = set(self.modules_by_output.values())
        with forward_hooks(self.network, {name: partial(maps.__setitem__, name) for name in names}):
            output = DiscriminatorOutput(*self.network(images, condition))
        return output._replace(extra={**output.extra, **{key: maps[n] for key, n in self.modules_by_output.items()}})


class DiscriminatorReconstruction(Plugin):
    """Loss term for D: the error of small decoders that reconstruct D's real inputs from D's feature maps.

    Source: Liu 2021 (FastGAN), section 3.2, equation 2 and figure 4. One decoder reconstructs the image from the
    feature map f2 at 8x8. A second decoder reconstructs one quarter of the image, chosen at random, from the same
    quarter of the feature map f1 at 16x16. A decoder doubles height and width at most four times, with a convolution
    after each upsampling. The largest output from 8x8 is 128x128, so larger images are compared at 128x128. The
    decoders reconstruct D's inputs after augmentations, such as `diff_augment`. D and the decoders are trained
    together, on real images only.

    Here, the norm of equation 2 is the mean absolute difference of the pixels, because a perceptual distance needs a
    trained network. Any convolutional D can be used. Its feature maps with sizes nearest to `part_side` and
    `whole_side` take the place of f1 and f2. The setting `normalization.discriminator` applies to the decoders, except
    to their last layer.

    When to use: with few images, together with `diff_augment`, because D would otherwise memorise details.
    When not: with fully connected networks, which have no feature maps; with `instance_noise`, because no decoder can
    reconstruct the noise.
    """

    name = "discriminator_reconstruction"

    class Config(Settings):
        weight: Scheduled = Field(1.0, gt=0, description="weight of the reconstruction errors in D's loss")
        part_side: int = Field(16, ge=2, description="side of the feature map for the quarters, in pixels")
        whole_side: int = Field(8, ge=2, description="side of the feature map for the images, in pixels")
        width: int = Field(32, ge=1, description="channels of the decoders before their last layer")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("discriminator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('discriminator')} has a network for each class, so a row of a feature map contains "
                "several images, which one decoder cannot separate; remove discriminator_reconstruction, or use "
                "another discriminator"
            )
        if recipe.use_of("normalization.discriminator") == "virtual_batch_norm":
            raise ValueError(
                "the decoders have D's normalisation, and the reference batch of virtual_batch_norm does not pass "
                "through them; set normalization.discriminator to batch_norm or none"
            )
        if recipe.uses("progressive_growing"):
            raise ValueError(
                "progressive_growing trains D's layers one size after the other, and the decoders need the same layers "
                "in every step; remove one of the two"
            )
        if recipe.uses("instance_noise"):
            yield (
                "instance_noise adds noise that the decoders cannot reconstruct, so their error stays above the noise; "
                "remove one of the two"
            )

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player == "generator":
            return network
        maps = [one for one in feature_maps(network, player, spec, run) if min(one.size) > 1]
        if not maps:
            raise InputError(
                f"{type(network).__name__} has no layers that return feature maps, so there is nothing to decode; "
                "remove discriminator_reconstruction, or use a convolutional discriminator such as fastgan or dcgan"
            )
        part, whole = (nearest(maps, side).module for side in (self.config.part_side, self.config.whole_side))
        return MappingDiscriminator(network, part, whole)

    @hookimpl
    def extra_networks(self, run: Run) -> Mapping[str, ExtraNetwork]:
        spec, extra = run.spec, probe(run.discriminator, run).extra
        image = spec.image_size(self.name)

        def of(feature_map: Tensor, size: Size, target: Size) -> nn.Module:
            return decoder(spec, feature_map.shape[1], self.config.width, size, target, spec.channels * spec.pack)

        part, whole = ((extra[key].shape[2], extra[key].shape[3]) for key in (PART, WHOLE))
        decoders = Decoders(of(extra[PART], half(part), half(image)), of(extra[WHOLE], whole, image))
        return {DECODERS: ExtraNetwork(decoders, trained_by=("discriminator",))}

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("reconstruction", lambda step: self.term(run, step), self.config.weight)

    def term(self, run: Run, step: Step) -> Tensor:
        """Return the sum of the reconstruction errors of quarters and of whole images, for the real inputs of D."""
        images, maps = step.real_inputs[0], step.real_output.extra
        bottom, right = torch.rand(2, len(images), device=images.device) < 0.5
        part, whole = run.networks[DECODERS](quarter(maps[PART], bottom, right), maps[WHOLE])
        return reconstruction_loss(part, quarter(images, bottom, right)) + reconstruction_loss(whole, images)
