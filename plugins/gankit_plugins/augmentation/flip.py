"""Images mirrored at random."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.augmentation.require_images import refuse_points


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """(B, C, R, R) with those mirrored left to right for which `mirrored`, (B,) bool, says so."""
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


class Flip(Plugin):
    """Mirrors what D is shown left to right, some images at random, real and generated ones alike.

    Source: Zhao 2020 (Differentiable Augmentation for Data-Efficient GAN Training), section 3, for augmentation of
    both sides; the oldest augmentation there is. Gradients reach G through it.

    When to use: few images of things that have no left and right.
    When not: letters, digits, faces with partings; G learns to draw them mirrored, unless p is well below a half.
    """

    name = "flip"
    kind = "augmentation"

    class Config(Settings):
        p: float = Field(0.5, ge=0, le=1, description="probability that an image is mirrored")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return flip(images, torch.rand(len(images), device=images.device) < self.config.p), labels
