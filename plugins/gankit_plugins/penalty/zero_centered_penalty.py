"""The zero-centred penalty between real and generated images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.penalty.input_gradient import Judge, advice_on_coupling, advice_on_flatness, input_gradient

if TYPE_CHECKING:
    from gankit import RecipeInfo


def zero_centered_penalty(judge: Judge, real: Tensor, fake: Tensor, labels: Tensor | None, t: Tensor) -> Tensor:
    """E[||grad D(x_hat)||_2^2] at x_hat = t real + (1 - t) fake; a scalar (Thanh-Tung 2019, section 5).

    Args:
        judge: D, from images and labels to logits.
        real: (B, C, R, R).
        fake: (B, C, R, R).
        labels: (B,) or None.
        t: (B, 1, 1, 1) in [0, 1], where each x_hat lies on its line.
    """
    x_hat = t * real + (1 - t) * fake
    return input_gradient(judge, x_hat, labels).square().sum((1, 2, 3)).mean()


class ZeroCenteredPenalty(Plugin):
    """Pulls D's gradient towards 0 between real and generated images.

    Source: Thanh-Tung 2019 (Improving Generalization and Stability of Generative Adversarial Networks), section 5:
    as `gradient_penalty`, at the same points, with 0 for the length that is wanted.

    When to use: few images, where D would learn them by heart; a flat D between them cannot.
    When not: with a Wasserstein loss, whose critic needs a slope: `gradient_penalty`.
    """

    name = "zero_centered_penalty"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(10.0, gt=0, description="lambda, the penalty's weight in D's loss")
        every: int = Field(
            1, ge=1, description="acts on every so many turns of D, weighted that many times (Karras 2019)"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        yield from advice_on_flatness(recipe)
        yield from advice_on_coupling(recipe)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("zero_centered_penalty", _penalty, weight=self.config.weight, every=self.config.every)


def _penalty(step: Step) -> Tensor:
    real, labels = step.real_inputs
    fake, _ = step.fake_inputs
    t = torch.rand(len(real), 1, 1, 1, device=real.device)
    return zero_centered_penalty(lambda images, of: step.discriminate(images, of).logits, real, fake, labels, t)
