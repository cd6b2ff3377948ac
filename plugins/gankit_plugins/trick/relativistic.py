"""Relativistic losses. They compare the logits of real and fake images in pairs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, hookimpl
from gankit_plugins.trick.relativistic_step import check_feature_matching_order, relative_terms


def difference(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return C(x_r) - C(x_f) and C(x_f) - C(x_r) for each pair of a real image x_r and a fake image x_f.

    `real` and `fake`, (B, ...) each, are D's logits C(x_r) and C(x_f). The results have the same shape as `real`. Their
    type is float32 or wider.
    """
    wide = torch.promote_types(real.dtype, torch.float32)
    margin = real.to(wide) - fake.to(wide)
    return margin, -margin


class Relativistic(Plugin):
    """Relativistic loss, in which D compares each real image with a fake image (RGAN). It works with any `loss`.

    Source: Jolicoeur-Martineau 2018, section 4.1, equations 10 and 11: C(x_r) - C(x_f) and C(x_f) - C(x_r) replace D's
    logits C(x_r) and C(x_f), pair by pair. G's loss is D's loss with real and fake images exchanged, so G's loss also
    depends on real images. The trick changes only the terms of the recipe's `loss`.

    When to use: with `non_saturating` (RSGAN) or `hinge`, if D separates real from fake images perfectly. G then gets
    no useful gradient without this trick.
    When not: if G steps must be cheap, because they include a forward pass of D over the real images.
    """

    name = "relativistic"
    relativistic_logits = True

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.uses("relativistic_average"):
            raise ValueError("relativistic_average already makes the logits relative; remove one of the two")
        check_feature_matching_order(recipe, self.name)
        return ()

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]]) -> dict[Player, list[LossTerm]]:
        return relative_terms(terms, difference)
