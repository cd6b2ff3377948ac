"""The gradient penalty of WGAN-GP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.penalty.input_gradient import Judge, advice_on_coupling, input_gradient

if TYPE_CHECKING:
    from gankit import RecipeInfo


def gradient_penalty(judge: Judge, real: Tensor, fake: Tensor, labels: Tensor | None, t: Tensor) -> Tensor:
    """E[(||grad D(x_hat)||_2 - 1)^2] at x_hat = t real + (1 - t) fake.

    The norm is over all channels and pixels of one image, and each image has a penalty of its own.

    Args:
        judge: D, from images and labels to logits; what the penalty differentiates.
        real: (B, C, R, R).
        fake: (B, C, R, R).
        labels: (B,), the classes of the real images, or None.
        t: (B, 1, 1, 1) in [0, 1], where each x_hat lies on its line.

    Returns:
        A scalar in float32 at least, with gradients to D's parameters, and to images that ask for them.
    """
    x_hat = t * real + (1 - t) * fake
    norm = torch.linalg.vector_norm(input_gradient(judge, x_hat, labels), dim=(1, 2, 3))
    return (norm - 1).square().mean()


class GradientPenalty(Plugin):
    """Pulls the length of D's gradient towards 1 between real and generated images (WGAN-GP).

    Source: Gulrajani 2017, equation 3; Meng 2021, equation 12, with weight 5. It is taken at random points on
    the lines from generated to real images, both as D is really shown them, noise and augmentation included,
    and in D's turn alone. It runs a forward pass of its own.

    When to use: with a Wasserstein loss, which needs a D whose slope is bounded, and with most others, where
    it keeps D from becoming too steep to learn from. `every = 16` saves most of its cost.
    When not: beside batch norm in D. The penalty is each image's own, batch norm makes D a function of the
    whole batch (Gulrajani 2017, section 4).
    """

    name = "gradient_penalty"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(10.0, gt=0, description="lambda, the penalty's weight in D's loss")
        every: int = Field(
            1, ge=1, description="acts on every so many turns of D, weighted that many times (Karras 2019)"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        yield from advice_on_coupling(recipe)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("gradient_penalty", _penalty, weight=self.config.weight, every=self.config.every)


def _penalty(step: Step) -> Tensor:
    real, labels = step.real_inputs
    fake, _ = step.fake_inputs
    t = torch.rand(len(real), 1, 1, 1, device=real.device)
    return gradient_penalty(lambda images, of: step.discriminate(images, of).logits, real, fake, labels, t)
