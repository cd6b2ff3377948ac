"""The zero-centred penalty on generated images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.penalty.input_gradient import Judge, advice_on_coupling, advice_on_flatness, input_gradient

if TYPE_CHECKING:
    from gankit import RecipeInfo


def r2(judge: Judge, fake: Tensor, labels: Tensor | None) -> Tensor:
    """1/2 E[||grad D(x)||_2^2] on generated images x; a scalar, without gamma (Mescheder 2018, equation 10).

    Args:
        judge: D, from images and labels to logits.
        fake: (B, C, R, R).
        labels: (B,) or None.
    """
    return input_gradient(judge, fake, labels).square().sum((1, 2, 3)).mean() / 2


class R2(Plugin):
    """Pulls D's gradient towards 0 on generated images.

    Source: Mescheder 2018, equation 10: as `r1`, at generated images as D is really shown them, past ones that
    `experience_replay` brings back included.

    When to use: beside `r1`, where D is steep around generated images too.
    When not: alone early in training, where it flattens D just where G must learn from it.
    """

    name = "r2"
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
            yield LossTerm("r2", _penalty, weight=self.config.gamma, every=self.config.every)


def _penalty(step: Step) -> Tensor:
    return r2(lambda images, of: step.discriminate(images, of).logits, *step.fake_inputs)
