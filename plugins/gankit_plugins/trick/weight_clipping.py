"""Weight clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from gankit import Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from gankit import RecipeInfo, Run


def clip_weights(weights: Sequence[Tensor], c: float) -> None:
    """w = min(max(w, -c), c), in place, for tensors of any shape (Arjovsky 2017, algorithm 1, line 7)."""
    with torch.no_grad():
        torch._foreach_clamp_min_(list(weights), -c)
        torch._foreach_clamp_max_(list(weights), c)


class WeightClipping(Plugin):
    """Keeps every weight of D within [-c, c] after each of its turns.

    Source: Arjovsky 2017 (Wasserstein GAN), algorithm 1, with c = 0.01. It bounds D's slope, which the Wasserstein
    loss needs, in the crudest way. Every learnt number of D is clipped, biases and scales of norms included.

    When to use: to follow the first Wasserstein GAN, with `wasserstein` and `rmsprop`.
    When not: otherwise; `gradient_penalty` and `spectral_norm` bound the slope and leave D more of its capacity.
    """

    name = "weight_clipping"

    class Config(Settings):
        c: float = Field(0.01, gt=0, description="no weight of D is larger than this in absolute value")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.discriminator") == "spectral_norm":
            yield (
                "spectral_norm divides D's weights by their own size, so clipping them bounds nothing; drop one of "
                "the two"
            )
        if recipe.use_of("optimizer.discriminator") in ("adam", "adamw"):
            yield (
                "with Adam's momentum a clipped critic becomes unsteady (Arjovsky 2017, section 4.3); "
                "optimizer.discriminator = rmsprop suits it"
            )

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        clip_weights(run.parameters["discriminator"], self.config.c)
