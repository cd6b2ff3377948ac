"""Weight clipping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, hookimpl


def clip_weights(weights: Sequence[Tensor], c: float) -> None:
    """Clip all parameters w to [-c, c], in place (Arjovsky 2017, algorithm 1, line 7)."""
    with torch.no_grad():
        torch._foreach_clamp_min_(list(weights), -c)
        torch._foreach_clamp_max_(list(weights), c)


class WeightClipping(Plugin):
    """Clipping of every parameter of D to [-c, c] after each D step.

    Source: Arjovsky 2017 (Wasserstein GAN), algorithm 1, with c = 0.01. Clipping is the simplest way to bound D's
    Lipschitz constant, as the Wasserstein loss requires. The trick also clips biases and the scales of normalisations.

    When to use: to reproduce the first Wasserstein GAN, with `wasserstein` and `rmsprop`.
    When not: in all other cases; use `gradient_penalty` or `spectral_norm`, which reduce D's capacity less.
    """

    name = "weight_clipping"

    class Config(Settings):
        c: float = Field(0.01, gt=0, description="largest absolute value of D's parameters")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.discriminator") == "spectral_norm":
            yield ("spectral_norm normalises D's weights, so clipping them has no effect on the slope; remove one")
        if recipe.use_of("optimizer.discriminator") in ("adam", "adamw"):
            yield (
                "with Adam's momentum a clipped critic is unstable (Arjovsky 2017, section 4.3); use "
                "optimizer.discriminator = rmsprop"
            )

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        clip_weights(run.parameters["discriminator"], self.config.c)
