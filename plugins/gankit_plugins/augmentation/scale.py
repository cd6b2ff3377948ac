"""Random scaling of images, by the same factor in width and height."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.augmentation.affine import scalings, warp
from gankit_plugins.augmentation.require_images import ImageAugmentation

Factor = Annotated[float, Field(gt=0)]


class Scale(ImageAugmentation):
    """Random scaling of D's real and generated inputs.

    The logarithm of the factor is uniformly distributed. Pixels outside the original image become black. The scaling is
    differentiable, so gradients reach G.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3, for the augmentation of
    both real and generated images.

    When to use: for small datasets whose objects occur in different sizes.
    When not: for objects of a fixed size, because G would learn to draw all sizes that the scaling produces.
    """

    name = "scale"
    kind = "augmentation"

    class Config(Settings):
        factor: tuple[Factor, Factor] = Field((0.8, 1.25), description="smallest and largest factor")

        @field_validator("factor")
        @classmethod
        def _smallest_first(cls, factor: tuple[float, float]) -> tuple[float, float]:
            if factor[0] > factor[1]:
                raise ValueError("the first factor must not exceed the second one")
            return factor

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        low, high = (math.log(factor) for factor in self.config.factor)
        factor = torch.empty(len(images), device=images.device).uniform_(low, high).exp()
        return warp(images, scalings(factor, factor)), condition
