"""Targets for D other than 1 and 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from gankit import Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.scalar_or_range import Probability, draw, ends

if TYPE_CHECKING:
    from gankit import RecipeInfo


class LabelSmoothing(Plugin):
    """Trains D towards softer answers than 1 and 0: fixed ones, or drawn anew for each image and turn.

    Source: Salimans 2016, section 3.4, for the default, 0.9 on real images and 0 on generated ones: D is kept
    from being sure of itself. With the targets a on real and b on generated images the best D is
    (a p_data + b p_g) / (p_data + p_g). With b above 0, p_g stands in the numerator: where there are fakes and
    no real images D still answers b, and G has less reason to leave. So smooth the generated side only for a
    reason.

    Meng 2021, equations 7 to 11, smooths both sides and flips them: real = [0.0, 0.1], fake = [0.9, 1.0].
    `real` and `fake` are the targets as D is given them, so nothing else says that they are flipped: where
    the real side's targets are the lower ones, G aims at 0. G's target is hard, 1 or 0.

    When to use: a D that becomes too sure of itself under a cross-entropy loss.
    When not: with a loss that has no targets (hinge, Wasserstein), where it does nothing.
    """

    name = "label_smoothing"

    class Config(Settings):
        real: Probability = Field(
            0.9, description="what D is trained to answer on real images: a number, or a range [low, high]"
        )
        fake: Probability = Field(
            0.0, description="what D is trained to answer on generated images: a number, or a range [low, high]"
        )

        @model_validator(mode="after")
        def _apart(self) -> LabelSmoothing.Config:
            real, fake = ends(self.real), ends(self.fake)
            if real[0] <= fake[1] and fake[0] <= real[1]:
                raise ValueError(
                    f"real = {_as_written(self.real)} and fake = {_as_written(self.fake)} overlap, so that an "
                    "answer could mean either; keep one above the other"
                )
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.generator_target = 1.0 if ends(config.real) > ends(config.fake) else 0.0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not recipe.plugin_class("loss").uses_targets:
            yield (
                f"the loss {recipe.use_of('loss')!r} has no targets, so smoothing them does nothing; drop the "
                "trick, or use a loss that has them, such as non_saturating"
            )

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        step.real_target = draw(self.config.real, step.num_logits, step.real.device)
        step.fake_target = draw(self.config.fake, step.num_logits, step.fake.device)

    @hookimpl
    def before_g_step(self, step: Step) -> None:
        step.generator_target = self.generator_target


def _as_written(value: float | tuple[float, float]) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
