"""DiffAugment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.augmentation.crop import crop
from gankit_plugins.augmentation.require_images import refuse_points

Policy = Literal["color", "translation", "cutout"]


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """x + amount; images (B, C, R, R), amount (B, 1, 1, 1), uniform in [-0.5, 0.5] in the paper's code."""
    return images + amount


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """The distance from grey, the mean over the channels, times a factor (B, 1, 1, 1), uniform in [0, 2]."""
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * factor


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """The distance from the image's mean times a factor (B, 1, 1, 1), uniform in [0.5, 1.5]."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor


def cutout(images: Tensor, across: Tensor, down: Tensor, side: int) -> Tensor:
    """A square of 0, the middle grey, in each image.

    Args:
        images: (B, C, R, R).
        across, down: (B,) int64 from 0 to R - 1 + (side is even): the pixel in the square's middle.
        side: of the square, which is cut off where it reaches beyond the image.
    """
    line = torch.arange(images.shape[-1], device=images.device)
    in_column = (line - across[:, None] + side // 2 >= 0) & (line - across[:, None] + side // 2 < side)
    in_row = (line - down[:, None] + side // 2 >= 0) & (line - down[:, None] + side // 2 < side)
    inside = in_row[:, None, :, None] & in_column[:, None, None, :]
    return images.masked_fill(inside, 0.0)


def _color(images: Tensor) -> Tensor:
    bright, saturated, contrasted = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = brightness(images, bright - 0.5)
    return contrast(saturation(images, saturated * 2), contrasted + 0.5)


def _translation(images: Tensor) -> Tensor:
    most = int(images.shape[-1] / 8 + 0.5)
    right, down = torch.randint(2 * most + 1, (2, len(images)), device=images.device)
    return crop(images, right, down, most, beyond=0.0)


def _cutout(images: Tensor) -> Tensor:
    R = images.shape[-1]
    side = int(R / 2 + 0.5)
    across, down = torch.randint(R + (1 - side % 2), (2, len(images)), device=images.device)
    return cutout(images, across, down, side)


POLICIES: dict[Policy, Callable[[Tensor], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


class DiffAugment(Plugin):
    """Changes colour, place and a part of all that D is shown, so that it cannot learn few images by heart.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3 and appendix: brightness,
    saturation and contrast; a shift by up to an eighth of the image; a square of half its side cut out. What is
    cut out and what comes in from beyond is of the middle grey. Real and
    generated images are treated alike in both players' turns, and gradients reach G through it. Images with one
    channel have no saturation to change.

    When to use: some hundreds to thousands of images, all of them augmented always.
    When not: plenty of images, or where `ada` is to find out how much is needed.
    """

    name = "diff_augment"
    kind = "augmentation"

    class Config(Settings):
        policy: list[Policy] = Field(
            ["color", "translation", "cutout"], min_length=1, description="what is done, in this order"
        )

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for policy in self.config.policy:
            images = POLICIES[policy](images)
        return images, labels
