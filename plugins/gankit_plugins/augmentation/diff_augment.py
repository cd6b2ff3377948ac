"""DiffAugment: random colour changes, shifts and cutouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.augmentation.affine import split_opacity
from gankit_plugins.augmentation.crop import crop
from gankit_plugins.augmentation.require_images import ImageAugmentation

Policy = Literal["color", "translation", "cutout"]


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Add an amount (B, 1, 1, 1) to images (B, C, H, W). DiffAugment draws the amount uniformly from [-0.5, 0.5]."""
    return images + amount


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the saturation of images (B, C, H, W) by a factor (B, 1, 1, 1).

    The saturation of a pixel is its difference from the mean over its channels. DiffAugment draws the factor uniformly
    from [0, 2].
    """
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * factor


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the contrast of images (B, C, H, W) by a factor (B, 1, 1, 1).

    The contrast is the difference of each value from the mean of its image. DiffAugment draws the factor uniformly
    from [0.5, 1.5].
    """
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor


def cutout(images: Tensor, column: Tensor, row: Tensor, side: int) -> Tensor:
    """Set a square of each image to 0, which is middle grey.

    Args:
        images: (B, C, H, W) in [-1, 1].
        column: (B,) int64 from 0 to W - 1, or to W if `side` is even. The column of the square's centre.
        row: (B,) int64 from 0 to H - 1, or to H if `side` is even. The row of the square's centre.
        side: height and width of the square in pixels. The square may extend beyond the image.
    """
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    in_column = (columns - column[:, None] + side // 2 >= 0) & (columns - column[:, None] + side // 2 < side)
    in_row = (rows - row[:, None] + side // 2 >= 0) & (rows - row[:, None] + side // 2 < side)
    inside = in_row[:, None, :, None] & in_column[:, None, None, :]
    return images.masked_fill(inside, 0.0)


def _color(images: Tensor) -> Tensor:
    u, v, w = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    colours, opacity = split_opacity(images)
    colours = brightness(colours, u - 0.5)
    return torch.cat([contrast(saturation(colours, v * 2), w + 0.5), opacity], 1)


def _translation(images: Tensor) -> Tensor:
    padding = int(min(images.shape[2:]) / 8 + 0.5)
    right, down = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
    return crop(images, right, down, padding, value=0.0)


def _cutout(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = int(min(height, width) / 2 + 0.5)
    if height == width:
        column, row = torch.randint(width + (1 - side % 2), (2, len(images)), device=images.device)
    else:
        column, row = (
            torch.randint(length + (1 - side % 2), (len(images),), device=images.device) for length in (width, height)
        )
    return cutout(images, column, row, side)


POLICIES: dict[Policy, Callable[[Tensor], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


class DiffAugment(ImageAugmentation):
    """Random colour changes, shifts and cutouts of D's real and generated inputs.

    The colour changes affect brightness, saturation and contrast. Images with one channel have no saturation. The shift
    is at most an eighth of the smaller side. The cutout is a square whose side is half of the image's smaller side. The
    square and the pixels outside the original image become middle grey. All changes are differentiable, so gradients
    reach G. The changes make it harder for D to memorise a small dataset.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3 and appendix.

    When to use: for datasets of hundreds to thousands of images.
    When not: for large datasets. If D still overfits, or the changes are too strong, try `ada`, whose strength adapts
    to D's overfitting.
    """

    name = "diff_augment"
    kind = "augmentation"

    class Config(Settings):
        policy: list[Policy] = Field(
            ["color", "translation", "cutout"], min_length=1, description="augmentations, in this order"
        )

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for policy in self.config.policy:
            images = POLICIES[policy](images)
        return images, condition
