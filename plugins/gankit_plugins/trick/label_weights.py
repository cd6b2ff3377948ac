"""Weights for the real and the generated half of the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from gankit import Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.scalar_or_range import Weight, draw

if TYPE_CHECKING:
    from gankit import RecipeInfo


class LabelWeights(Plugin):
    """Weights the real half of the loss with alpha, the generated half with beta.

    Source: Meng 2021, equations 8 and 9, read literally, with the ranges printed there as defaults. A number
    drawn from a range is drawn anew for each image and turn. The best D is
    alpha p_data / (alpha p_data + beta p_g), with the means of the ranges for alpha and beta. Beta weights G's
    loss as well, if the loss reads weights there.

    When to use: to follow the printed equations, or, with numbers near 1, to let one side count more.
    When not: with the printed ranges real images hardly count, and D answers 0.05 where real and generated
    images are equally likely. What the paper's text calls smoothed labels is the trick `label_smoothing`.
    """

    name = "label_weights"

    class Config(Settings):
        alpha: Weight = Field(
            (0.0, 0.1), description="weight of the real half of the loss: a number, or a range [low, high]"
        )
        beta: Weight = Field(
            (0.9, 1.0), description="weight of the generated half of the loss: a number, or a range [low, high]"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not recipe.plugin_class("loss").uses_weights:
            yield (
                f"the loss {recipe.use_of('loss')!r} reads no weights, so setting them does nothing; drop the "
                "trick, or use a loss that reads them, such as igan_label"
            )

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        self._weigh(step)

    @hookimpl
    def before_g_step(self, step: Step) -> None:
        self._weigh(step)

    def _weigh(self, step: Step) -> None:
        step.real_weight = draw(self.config.alpha, step.num_logits, step.real.device)
        step.fake_weight = draw(self.config.beta, step.num_logits, step.fake.device)
