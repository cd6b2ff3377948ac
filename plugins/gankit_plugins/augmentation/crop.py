"""Random shift of images, by padding and a crop at a random position."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gankit import Settings, Spec, hookimpl
from gankit_plugins.augmentation.affine import BLACK
from gankit_plugins.augmentation.require_images import ImageAugmentation


def crop(images: Tensor, right: Tensor, down: Tensor, padding: int, value: float = BLACK) -> Tensor:
    """Pad images with a border, then crop each image to its original size at a given position.

    Args:
        images: (B, C, H, W).
        right: (B,) int64 from 0 to 2 * padding, the first column of each crop; `padding` means no horizontal shift.
        down: (B,) int64 from 0 to 2 * padding, the first row of each crop; `padding` means no vertical shift.
        padding: width of the border in pixels.
        value: pixel value of the border, from -1 to 1.
    """
    B, C, H, W = images.shape
    padded = F.pad(images, [padding] * 4, value=value)
    rows = (down[:, None] + torch.arange(H, device=images.device))[:, None, :, None].expand(B, C, H, padded.shape[3])
    columns = (right[:, None] + torch.arange(W, device=images.device))[:, None, None, :].expand(B, C, H, W)
    return padded.gather(2, rows).gather(3, columns)


def check_shift(setting: str, pixels: int, side: int) -> None:
    """Raise ValueError if a shift by `pixels` can move a whole image out of view.

    `setting` is the name of the plugin setting for the shift, for the error message. `side` is the smaller side of an
    image, in pixels.
    """
    if pixels >= side:
        raise ValueError(
            f"{setting} = {pixels} can shift an image of {side} pixels out of view; set a smaller one, such as "
            f"{side // 8 or 1}"
        )


class Crop(ImageAugmentation):
    """Random shift of D's real and generated inputs by whole pixels.

    Pixels outside the original image become black. The shift is differentiable, so gradients reach G.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3, for the augmentation of
    both real and generated images.

    When to use: for small datasets, if the position of the objects does not matter.
    When not: for images with bright edges. If the padding is large, G learns to draw the black border.
    """

    name = "crop"
    kind = "augmentation"

    class Config(Settings):
        padding: int = Field(2, ge=1, description="largest shift in pixels, in each direction")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        super().adjust_spec(spec)
        check_shift("padding", self.config.padding, min(spec.image_size(self.name)))

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        padding = self.config.padding
        right, down = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
        return crop(images, right, down, padding), condition
