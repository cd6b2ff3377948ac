"""Relativistic average losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, hookimpl
from gankit_plugins.trick.relativistic_step import refuse_feature_matching_before, relative_terms

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run


def against_mean(real: Tensor, fake: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Tensor, Tensor]:
    """C(x_r) - E[C(x_f)] and C(x_f) - E[C(x_r)], the means over the batch; all (B,), in float32 at least.

    Args:
        real: C(x_r), (B,).
        fake: C(x_f), (B,).
        mean: over the ranks that share a batch, of what each has of it.
    """
    wide = torch.promote_types(real.dtype, torch.float32)
    real, fake = real.to(wide), fake.to(wide)
    real_mean, fake_mean = mean(torch.stack([real.mean(), fake.mean()]))
    return real - fake_mean, fake - real_mean


class RelativisticAverage(Plugin):
    """Asks D how much more real an image is than the other side is on average, under any loss (RaGAN).

    Source: Jolicoeur-Martineau 2018, section 4.2, equations 14 and 15: in the place of D's answers C(x_r) and C(x_f)
    stand C(x_r) - E[C(x_f)] and C(x_f) - E[C(x_r)], the means taken over the batch. G's loss is D's with the two
    sides exchanged. It acts on the terms of whatever plugin fills the slot `loss`.

    The labels of `least_squares` are 1 and 0, where RaLSGAN's are 1 and -1: that is its loss for 2 C in the place of
    C, by a constant factor and but for a constant.

    When to use: with `non_saturating` (RaSGAN), `least_squares` (RaLSGAN) or `hinge` (RaHingeGAN), for steadier games.
    When not: in very small batches, whose means are noise.
    """

    name = "relativistic_average"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        refuse_feature_matching_before(recipe, self.name)
        if recipe.plugin_class("discriminator").per_class_networks:
            yield (
                f"{recipe.use_of('discriminator')} judges each class by a network of its own, and a mean over the "
                "batch mixes their answers; a discriminator for all classes suits it better"
            )
        if recipe.train.accumulate > 1:
            yield (
                f"with train.accumulate the means are over one of {recipe.train.accumulate} parts of the batch, so the "
                "result is not that of the large batch"
            )

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]]:
        return relative_terms(terms, lambda real, fake: against_mean(real, fake, run.ranks.mean))
