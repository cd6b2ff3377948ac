"""Images enlarged or made smaller at random."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.augmentation.affine import scalings, warp
from gankit_plugins.augmentation.require_images import refuse_points

Factor = Annotated[float, Field(gt=0)]


class Scale(Plugin):
    """Enlarges what D is shown by random factors, or makes it smaller, real and generated images alike.

    Source: Zhao 2020, section 3, for augmentation of both sides. The logarithm of the factor is uniform. What an image
    made smaller leaves free is black. Gradients reach G through it.

    When to use: few images, of things of any size.
    When not: where size means something: G learns to draw things as small and as large as D has seen them.
    """

    name = "scale"
    kind = "augmentation"

    class Config(Settings):
        factor: tuple[Factor, Factor] = Field((0.8, 1.25), description="the smallest and the largest factor")

        @field_validator("factor")
        @classmethod
        def _smallest_first(cls, factor: tuple[float, float]) -> tuple[float, float]:
            if factor[0] > factor[1]:
                raise ValueError("the smallest factor comes first")
            return factor

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        low, high = (math.log(factor) for factor in self.config.factor)
        factor = torch.empty(len(images), device=images.device).uniform_(low, high).exp()
        return warp(images, scalings(factor, factor)), labels
