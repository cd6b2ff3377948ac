"""Images shifted at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.augmentation.affine import BLACK
from gankit_plugins.augmentation.require_images import refuse_points


def crop(images: Tensor, right: Tensor, down: Tensor, padding: int, beyond: float = BLACK) -> Tensor:
    """The window of the images' own size out of images with a border.

    Args:
        images: (B, C, R, R).
        right: (B,) int64 from 0 to 2 padding, where each window begins; at `padding` it shows the image as it was.
        down: likewise.
        padding: the border's width in pixels.
        beyond: the border's brightness, from -1 to 1.

    Returns:
        (B, C, R, R), with gradients to the images.
    """
    B, C, R, _ = images.shape
    wide = F.pad(images, [padding] * 4, value=beyond)
    line = torch.arange(R, device=images.device)
    rows = (down[:, None] + line)[:, None, :, None].expand(B, C, R, wide.shape[3])
    columns = (right[:, None] + line)[:, None, None, :].expand(B, C, R, R)
    return wide.gather(2, rows).gather(3, columns)


class Crop(Plugin):
    """Shifts what D is shown by whole pixels, real and generated images alike: a crop out of a black border.

    Source: Zhao 2020, section 3, for augmentation of both sides. Gradients reach G through it.

    When to use: few images, of things that may stand a little to any side.
    When not: images with bright edges, beside which the border shows; with large paddings G learns it.
    """

    name = "crop"
    kind = "augmentation"

    class Config(Settings):
        padding: int = Field(2, ge=1, description="pixels an image is shifted by at most, in each direction")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)
        if self.config.padding >= spec.resolution:
            raise ValueError(
                f"padding = {self.config.padding} can push an image of {spec.resolution} pixels out of sight; set it "
                f"to {spec.resolution // 8 or 1}, for instance"
            )

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        padding = self.config.padding
        right, down = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
        return crop(images, right, down, padding), labels
