"""ADA's augmentation with a fixed or scheduled probability."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Run, Scheduled, Settings, hookimpl, value_at
from gankit_plugins.augmentation.ada import augment
from gankit_plugins.augmentation.require_images import ImageAugmentation


class AdaSchedule(ImageAugmentation):
    """Augmentation of `ada` with a probability p that is fixed or follows a schedule.

    Each geometric or colour change is applied to each real and generated image with probability p before the image
    enters D. p does not depend on D.

    Source: Karras 2020 (Training Generative Adversarial Networks with Limited Data), section 2, for a fixed p; Huang
    2024 (R3GAN), appendix, for a schedule that rises from 0.

    When to use: with relativistic losses, for which `ada` cannot measure D's overfitting from the sign of D's logits.
    When not: if no good value of p is known; use `ada`, which adapts p. With p near 1, the changes appear in the
    generated images.
    """

    name = "ada_schedule"
    kind = "augmentation"

    class Config(Settings):
        p: Scheduled = Field(0.3, ge=0, le=1, description="probability of each change")

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        # torch.full creates the scalar on the device. Copying a Python number would synchronise the CPU with the GPU.
        p = torch.full((), value_at(self.config.p, run), device=images.device)
        return augment(images, p), condition
