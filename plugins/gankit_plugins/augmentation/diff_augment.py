"""DiffAugment: random colour changes, shifts and cutouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.augmentation.crop import crop
from gankit_plugins.augmentation.require_images import ImageAugmentation

Policy = Literal["color", "translation", "cutout"]


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Return x + amount. The paper's code draws the amount, (B, 1, 1, 1), uniformly from [-0.5, 0.5]."""
    return images + amount


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference from grey, the mean over the channels, by a factor (B, 1, 1, 1), uniform in [0, 2]."""
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * factor


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference from the mean of the image by a factor (B, 1, 1, 1), uniform in [0.5, 1.5]."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor


def cutout(images: Tensor, column: Tensor, row: Tensor, side: int) -> Tensor:
    """Replace a square of each image by 0, the middle grey.

    Args:
        images: (B, C, R, R).
        column: (B,) int64 from 0 to R - 1, or to R for an even side: the column of the square's centre.
        row: (B,) int64, the row of the square's centre.
        side: height and width of the square, of which only the part within the image counts.
    """
    line = torch.arange(images.shape[-1], device=images.device)
    in_column = (line - column[:, None] + side // 2 >= 0) & (line - column[:, None] + side // 2 < side)
    in_row = (line - row[:, None] + side // 2 >= 0) & (line - row[:, None] + side // 2 < side)
    inside = in_row[:, None, :, None] & in_column[:, None, None, :]
    return images.masked_fill(inside, 0.0)


def _color(images: Tensor) -> Tensor:
    u, v, w = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = brightness(images, u - 0.5)
    return contrast(saturation(images, v * 2), w + 0.5)


def _translation(images: Tensor) -> Tensor:
    padding = int(images.shape[-1] / 8 + 0.5)
    right, down = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
    return crop(images, right, down, padding, value=0.0)


def _cutout(images: Tensor) -> Tensor:
    R = images.shape[-1]
    side = int(R / 2 + 0.5)
    column, row = torch.randint(R + (1 - side % 2), (2, len(images)), device=images.device)
    return cutout(images, column, row, side)


POLICIES: dict[Policy, Callable[[Tensor], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


class DiffAugment(ImageAugmentation):
    """Changes the colours of real and generated images, shifts them and cuts out a part before D.

    Brightness, saturation and contrast change; images with one channel have no saturation. The shift is up to an eighth
    of the image, the cut-out square half as wide as the image. The square and the area outside of the image are middle
    grey. Gradients reach G through it. It keeps D from memorising few images.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3 and appendix.

    When to use: some hundreds to thousands of images.
    When not: many images; or use `ada`, which adapts the strength of the augmentation.
    """

    name = "diff_augment"
    kind = "augmentation"

    class Config(Settings):
        policy: list[Policy] = Field(
            ["color", "translation", "cutout"], min_length=1, description="augmentations, in this order"
        )

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for policy in self.config.policy:
            images = POLICIES[policy](images)
        return images, labels
