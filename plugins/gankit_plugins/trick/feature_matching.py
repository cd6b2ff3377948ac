"""Feature matching."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl

if TYPE_CHECKING:
    from gankit import RecipeInfo


RELATIVISTIC = ("relativistic", "relativistic_average")


def feature_matching(
    real_features: Tensor, fake_features: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """||E f(x) - E f(G(z))||_2^2, a scalar in float32 at least (Salimans 2016, section 3.1).

    Args:
        real_features: f(x), (B, F), D's features of real images.
        fake_features: f(G(z)), (B, F).
        mean: over the ranks that share a batch, of what each has of it.
    """
    wide = torch.promote_types(fake_features.dtype, torch.float32)
    return mean(real_features.to(wide).mean(0) - fake_features.to(wide).mean(0)).square().sum()


class FeatureMatching(Plugin):
    """Gives G another goal: images whose features in D have the mean that real images' have.

    Source: Salimans 2016, section 3.1. The features are those before D's last layer. It takes the place of the loss's
    terms for G, which come back beside it with `adversarial_weight`. D is trained as ever. The means are over
    the batch; with `train.accumulate`, over each part of it.

    When to use: an unsteady game, where the exact answer of D leads G around.
    When not: for the sharpest images: means of features can be matched by images that are not good ones.
    """

    name = "feature_matching"

    class Config(Settings):
        weight: float = Field(1.0, gt=0, description="of the squared distance in G's loss")
        adversarial_weight: float = Field(
            0.0, ge=0, description="what the loss's own terms for G are multiplied by; the paper leaves them out"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        before = [name for name in RELATIVISTIC if recipe.uses(name)]
        if before and not self.config.adversarial_weight:
            yield (
                f"it takes the place of the terms that {before[0]} gives G, so G learns nothing relative; set "
                "adversarial_weight to keep them beside it"
            )
        if recipe.train.accumulate > 1:
            yield (
                f"with train.accumulate the means are over one of {recipe.train.accumulate} parts of the batch, so the "
                "result is not that of the large batch"
            )
        if recipe.plugin_class("discriminator").per_class_networks:
            yield (
                f"{recipe.use_of('discriminator')} has features of its own for each class, and their mean over a batch "
                "mixes them; a discriminator for all classes suits it better"
            )

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]]) -> dict[Player, list[LossTerm]]:
        kept = [replace(t, weight=t.weight * self.config.adversarial_weight) for t in terms["generator"]]
        own = LossTerm("feature_matching", _matched, weight=self.config.weight)
        return terms | {"generator": [*(t for t in kept if t.weight), own]}


def _matched(step: Step) -> Tensor:
    return feature_matching(step.real_output.features, step.fake_output.features, step.run.ranks.mean)
