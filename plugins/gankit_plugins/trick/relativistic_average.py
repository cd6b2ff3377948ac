"""Relativistic average losses. They compare each logit with the mean logit of the other kind of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Run, hookimpl
from gankit_plugins.trick.feature_matching import batch_mean_warnings
from gankit_plugins.trick.relativistic_step import check_feature_matching_order, relative_terms


def against_mean(real: Tensor, fake: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Tensor, Tensor]:
    """Return C(x_r) - E[C(x_f)] and C(x_f) - E[C(x_r)] for real images x_r and fake images x_f.

    `real` and `fake`, (B, ...) each, are D's logits C(x_r) and C(x_f). The results have the same shape as `real`. Their
    type is float32 or wider. `mean` is a function that averages a tensor over the ranks that share the batch.
    """
    wide = torch.promote_types(real.dtype, torch.float32)
    real, fake = real.to(wide), fake.to(wide)
    real_mean, fake_mean = mean(torch.stack([real.mean(), fake.mean()]))
    return real - fake_mean, fake - real_mean


class RelativisticAverage(Plugin):
    """Relativistic average loss: D compares each logit with the mean logit of the other kind of images (RaGAN).

    Source: Jolicoeur-Martineau 2018, section 4.2, equations 14 and 15: C(x_r) - E[C(x_f)] and C(x_f) - E[C(x_r)]
    replace D's logits C(x_r) and C(x_f). The means E are over the batch. G's loss is D's loss with real and fake images
    exchanged. The trick changes only the terms of the recipe's `loss`.

    The targets of `least_squares` are 1 and 0, but the targets of RaLSGAN are 1 and -1. With `least_squares`, the loss
    is RaLSGAN's loss with 2 C in place of C, up to a constant factor and an additive constant.

    When to use: for stability, with `non_saturating` (RaSGAN), `least_squares` (RaLSGAN) or `hinge` (RaHingeGAN).
    When not: with very small batches, because the means over such batches are noisy.
    """

    name = "relativistic_average"
    relativistic_logits = True

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        check_feature_matching_order(recipe, self.name)
        yield from batch_mean_warnings(recipe, self.name, "logits")

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]]:
        return relative_terms(terms, lambda real, fake: against_mean(real, fake, run.ranks.mean))
