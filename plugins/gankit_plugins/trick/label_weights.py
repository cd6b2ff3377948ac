"""Weights of the loss terms for real and for generated images."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from gankit import Plugin, RecipeInfo, Settings, Step, hookimpl
from gankit_plugins.trick.scalar_or_range import Weight, draw


class LabelWeights(Plugin):
    """Factors of D's loss: alpha for real images, beta for generated images.

    Source: Meng 2021, equations 8 and 9, with their ranges as defaults. If a setting is a range, a new number is drawn
    from the range for each image and step. The optimal D is alpha p_data / (alpha p_data + beta p_g), where alpha and
    beta are the means of their ranges. Beta is also the weight of G's loss, if G's loss uses sample weights.

    When to use: to follow the equations of the paper, or, with numbers near 1, to emphasise real or generated images.
    When not: if real images should have a large effect. With the paper's ranges, their effect is small: D's optimal
    output is 0.05 where real and generated images are equally likely. For the smoothed labels that the paper's text
    describes, use `label_smoothing`.
    """

    name = "label_weights"

    class Config(Settings):
        alpha: Weight = Field((0.0, 0.1), description="weight of the real half: a number, or a range [low, high]")
        beta: Weight = Field((0.9, 1.0), description="weight of the generated half: a number, or a range [low, high]")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not recipe.plugin_class("loss").uses_weights:
            yield (
                f"the loss {recipe.use_of('loss')!r} has no weights, so label_weights has no effect; remove it, "
                "or use a loss with weights, such as igan_label"
            )

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        step.real_weight = draw(self.config.alpha, step.num_inputs, step.real.device)
        step.fake_weight = draw(self.config.beta, step.num_inputs, step.fake.device)

    @hookimpl
    def before_g_step(self, step: Step) -> None:
        self.before_d_step(step)
