"""Random rotation of images by any angle up to a limit."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.augmentation.affine import rotations, warp
from gankit_plugins.augmentation.require_images import ImageAugmentation


class Rotation(ImageAugmentation):
    """Random rotation of D's real and generated inputs.

    Pixels outside the original image become black. The rotation is differentiable, so gradients reach G.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3, for the augmentation of
    both real and generated images.

    When to use: for small datasets whose objects occur at any angle.
    When not: for objects with a fixed orientation, because G learns to draw rotated objects if the angles are large.
    """

    name = "rotation"
    kind = "augmentation"

    class Config(Settings):
        degrees: float = Field(15.0, ge=0, le=180, description="largest angle in both directions")

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        angle = (torch.rand(len(images), device=images.device) * 2 - 1) * math.radians(self.config.degrees)
        return warp(images, rotations(angle)), condition
