"""Images shifted at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl

BEYOND = -1.0
"""What lies beyond an image: black."""


def crop(images: Tensor, right: Tensor, down: Tensor, padding: int) -> Tensor:
    """The window of the images' own size out of images with a black border.

    Args:
        images: (B, C, R, R).
        right: (B,) int64 from 0 to 2 padding, where each window begins; at `padding` it shows the image as it was.
        down: likewise.
        padding: the border's width in pixels.

    Returns:
        (B, C, R, R), with gradients to the images.
    """
    B, C, R, _ = images.shape
    wide = F.pad(images, [padding] * 4, value=BEYOND)
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

    class Config(Settings):
        padding: int = Field(2, ge=1, description="pixels an image is shifted by at most, in each direction")

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        padding = self.config.padding
        right, down = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
        return crop(images, right, down, padding), labels
