"""Relativistic losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, hookimpl
from gankit_plugins.trick.relativistic_step import refuse_feature_matching_before, relative_terms

if TYPE_CHECKING:
    from gankit import RecipeInfo


def difference(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """C(x_r) - C(x_f) for each pair of a real and a fake image, and its negative; all (B,), in float32 at least."""
    wide = torch.promote_types(real.dtype, torch.float32)
    apart = real.to(wide) - fake.to(wide)
    return apart, -apart


class Relativistic(Plugin):
    """Asks D how much more real a real image is than a fake one, under any loss (RGAN).

    Source: Jolicoeur-Martineau 2018, section 4.1, equations 10 and 11: in the place of D's answers C(x_r) and C(x_f)
    stand C(x_r) - C(x_f) and C(x_f) - C(x_r), pair by pair. G's loss is D's with the two sides exchanged, so real
    images teach G too. It acts on the terms of whatever plugin fills the slot `loss`.

    When to use: with `non_saturating` (RSGAN) or `hinge`, where a D that is sure of both sides teaches G nothing.
    When not: where a turn of G must be cheap: D judges the real images in it as well.
    """

    name = "relativistic"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.uses("relativistic_average"):
            raise ValueError(
                "relativistic_average makes the same answers relative already, and twice has no meaning; drop one"
            )
        refuse_feature_matching_before(recipe, self.name)
        return ()

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]]) -> dict[Player, list[LossTerm]]:
        return relative_terms(terms, difference)
