"""Random horizontal flip."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.augmentation.require_images import ImageAugmentation


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Flip images (B, C, H, W) horizontally where `flipped`, a bool tensor (B,), is True."""
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


class Flip(ImageAugmentation):
    """Random horizontal flip of real and generated images before they enter D.

    The flip is differentiable, so gradients reach G.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3, for the augmentation of
    both real and generated images.

    When to use: for small datasets whose objects look natural when mirrored.
    When not: for letters or digits, because G learns to draw mirrored ones if p is near 0.5.
    """

    name = "flip"
    kind = "augmentation"

    class Config(Settings):
        p: float = Field(0.5, ge=0, le=1, description="probability that an image is flipped")

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return flip(images, torch.rand(len(images), device=images.device) < self.config.p), condition
