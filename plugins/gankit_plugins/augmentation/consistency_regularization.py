"""Consistency regularisation: a penalty on differences between D's logits for an image and its augmented copy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Scheduled, Settings, Spec, Step, hookimpl
from gankit_plugins.augmentation.crop import check_shift, crop
from gankit_plugins.augmentation.flip import flip
from gankit_plugins.augmentation.require_images import ImageAugmentation


def consistency(logits: Tensor, augmented_logits: Tensor) -> Tensor:
    """Return E[(D(x) - D(T(x)))^2] for logits (B, ...), as a scalar in float32 or a wider type.

    `augmented_logits` are the logits D(T(x)) of the augmented copies T(x) of the images x.

    Source: Zhang 2020 (Consistency Regularization for Generative Adversarial Networks), section 3.1.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return (logits.to(wide) - augmented_logits.to(wide)).square().mean()


class ConsistencyRegularization(ImageAugmentation):
    """Penalty on the difference between D's logits for an image and for its randomly shifted and flipped copy.

    Source: Zhang 2020, section 3.1. The penalty compares D's logits for real images. With `fake_weight` above 0, it is
    also computed for generated images, as in bCR (Zhao 2020, Improved Consistency Regularization for GANs, section
    2.2). The copies do not affect G's loss, so G does not learn to draw shifted images.

    When to use: if D overfits, as an alternative to augmentation of D's inputs.
    When not: for digits or letters, unless `flip` is 0.
    """

    name = "consistency_regularization"
    kind = "augmentation"

    class Config(Settings):
        weight: Scheduled = Field(10.0, gt=0, description="weight of the penalty for real images in D's loss")
        fake_weight: Scheduled = Field(0.0, ge=0, description="weight for generated images; bCR: 10")
        shift: int = Field(4, ge=1, description="largest shift in pixels, in each direction")
        flip: float = Field(0.5, ge=0, le=1, description="probability that a copy is flipped horizontally")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        super().adjust_spec(spec)
        check_shift("shift", self.config.shift, min(spec.image_size(self.name)))

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "generator":
            return
        yield LossTerm("consistency", self._of_real, self.config.weight)
        if self.config.fake_weight:
            yield LossTerm("fake_consistency", self._of_fake, self.config.fake_weight)

    def _of_real(self, step: Step) -> Tensor:
        return self._term(step, *step.real_inputs, step.real_output.logits)

    def _of_fake(self, step: Step) -> Tensor:
        return self._term(step, *step.fake_inputs, step.fake_output.logits)

    def _term(self, step: Step, images: Tensor, labels: Tensor | None, logits: Tensor) -> Tensor:
        return consistency(logits, step.discriminate(self.augmented(images), labels).logits)

    def augmented(self, images: Tensor) -> Tensor:
        """Return randomly flipped and shifted copies of images (B, C, H, W)."""
        u, right, down = torch.rand(len(images), 3, device=images.device).unbind(1)
        shift, positions = self.config.shift, 2 * self.config.shift + 1
        flipped = flip(images, u < self.config.flip)
        return crop(flipped, (right * positions).long(), (down * positions).long(), shift)
