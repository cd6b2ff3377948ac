"""Images turned at random."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.augmentation.affine import rotations, warp
from gankit_plugins.augmentation.require_images import refuse_points


class Rotation(Plugin):
    """Turns what D is shown by random angles, real and generated images alike.

    Source: Zhao 2020, section 3, for augmentation of both sides. Corners that come in from beyond the image are black.
    Gradients reach G through it.

    When to use: few images, of things that stand at any angle.
    When not: where up means something: with large angles G learns to draw things that lie on their side.
    """

    name = "rotation"
    kind = "augmentation"

    class Config(Settings):
        degrees: float = Field(15.0, ge=0, le=180, description="the largest angle, either way")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        angle = (torch.rand(len(images), device=images.device) * 2 - 1) * math.radians(self.config.degrees)
        return warp(images, rotations(angle)), labels
