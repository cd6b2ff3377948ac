"""Label smoothing, which replaces D's targets 1 and 0 by softer targets."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from gankit import Plugin, RecipeInfo, Settings, Step, hookimpl
from gankit_plugins.trick.scalar_or_range import Probability, draw, ends


class LabelSmoothing(Plugin):
    """Softer targets for D than 1 and 0. A target is a constant, or a random number for each image and step.

    Source: Salimans 2016, section 3.4, for the defaults: 0.9 for real images, which prevents an overconfident D, and 0
    for generated images. With targets `a` for real and `b` for generated images, the optimal D is `(a p_data + b p_g) /
    (p_data + p_g)`. If `b` is above 0, D outputs `b` where there are only generated images, so G's gradient there is
    weaker. Therefore the default does not smooth the targets of generated images.

    Meng 2021, equations 7 to 11, smooths the targets of real and of generated images, and flips them: real =
    [0.0, 0.1], fake = [0.9, 1.0]. If the targets are flipped (lower for real than for generated images), G's target
    is 0. Otherwise G's target is 1.

    When to use: if D becomes overconfident with a cross-entropy loss.
    When not: with a loss without targets (hinge, Wasserstein), because label smoothing then has no effect.
    """

    name = "label_smoothing"

    class Config(Settings):
        real: Probability = Field(0.9, description="target for real images: a number, or a range [low, high]")
        fake: Probability = Field(0.0, description="target for generated images: a number, or a range [low, high]")

        @model_validator(mode="after")
        def _no_overlap(self) -> LabelSmoothing.Config:
            real, fake = ends(self.real), ends(self.fake)
            if real[0] <= fake[1] and fake[0] <= real[1]:
                raise ValueError(
                    f"real = {_format(self.real)} and fake = {_format(self.fake)} overlap; keep one above the other"
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
                f"the loss {recipe.use_of('loss')!r} has no targets, so label_smoothing has no effect; remove "
                "it, or use a loss with targets, such as non_saturating"
            )

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        step.real_target = draw(self.config.real, step.num_inputs, step.real.device)
        step.fake_target = draw(self.config.fake, step.num_inputs, step.fake.device)

    @hookimpl
    def before_g_step(self, step: Step) -> None:
        step.generator_target = self.generator_target


def _format(value: float | tuple[float, float]) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
