"""The zero-centred penalty on real images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.penalty.input_gradient import Judge, advice_on_coupling, advice_on_flatness, input_gradient

if TYPE_CHECKING:
    from gankit import RecipeInfo


def r1(judge: Judge, real: Tensor, labels: Tensor | None) -> Tensor:
    """1/2 E[||grad D(x)||_2^2] on real images x; a scalar, without gamma (Mescheder 2018, equation 9).

    Args:
        judge: D, from images and labels to logits.
        real: (B, C, R, R).
        labels: (B,) or None.
    """
    return input_gradient(judge, real, labels).square().sum((1, 2, 3)).mean() / 2


class R1(Plugin):
    """Pulls D's gradient towards 0 on real images.

    Source: Mescheder 2018, equation 9: gamma / 2 times the mean squared length of the gradient, at real images as D
    is really shown them. Where G has found the data, D is to be flat, so that G is not pushed away again; that makes
    the game converge near its goal.

    When to use: with cross-entropy losses, alone, for steady long runs; `every = 16` saves most of its cost.
    When not: with a Wasserstein loss, whose critic needs a slope: `gradient_penalty`.
    """

    name = "r1"
    kind = "penalty"

    class Config(Settings):
        gamma: float = Field(10.0, gt=0, description="the penalty's weight in D's loss; half of it counts")
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
            yield LossTerm("r1", _penalty, weight=self.config.gamma, every=self.config.every)


def _penalty(step: Step) -> Tensor:
    return r1(lambda images, of: step.discriminate(images, of).logits, *step.real_inputs)
