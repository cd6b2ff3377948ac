"""Feature matching: a loss of G that compares mean features of D."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Scheduled, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import relativistic_trick


def feature_matching(
    real_features: Tensor, fake_features: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Return the squared distance ||E f(x) - E f(G(z))||_2^2 between mean features (Salimans 2016, section 3.1).

    The result is a scalar in float32 or a wider type.

    Args:
        real_features: D's features f(x) of real images, (B, F).
        fake_features: D's features f(G(z)) of generated images, (B, F).
        mean: function that averages a tensor over the ranks that share the batch.
    """
    wide = torch.promote_types(fake_features.dtype, torch.float32)
    return mean(real_features.to(wide).mean(0) - fake_features.to(wide).mean(0)).square().sum()


def batch_mean_warnings(recipe: RecipeInfo, name: str, values: str) -> Iterable[str]:
    """Yield a warning for each setting of the recipe that makes means over the batch less useful.

    The trick `name` computes these means. `values` names the outputs of D that the trick averages: "features" or
    "logits".
    """
    if recipe.train.accumulate > 1:
        yield (
            f"with train.accumulate the means are over one of {recipe.train.accumulate} parts of the batch, so the "
            "result differs from that of the whole batch"
        )
    if recipe.plugin_class("discriminator").per_class_networks:
        yield (
            f"{recipe.use_of('discriminator')} has a separate network for each class, and the mean over the batch "
            f"mixes their {values}; a discriminator for all classes suits {name} better"
        )


class FeatureMatching(Plugin):
    """Loss for G: distance between the means of D's features on generated and on real images.

    Source: Salimans 2016, section 3.1. The features are the input of D's last layer. This loss term replaces G's terms
    of the recipe's `loss`, unless `adversarial_weight` is above 0. The training of D does not change. The means are
    over the batch. With gradient accumulation (`train.accumulate`), the means are over each micro-batch.

    When to use: if training is unstable because G overfits to the current D.
    When not: for sharp images, because bad images can have the same mean features as real images.
    """

    name = "feature_matching"

    class Config(Settings):
        weight: Scheduled = Field(1.0, gt=0, description="weight of the squared distance in G's loss")
        adversarial_weight: float = Field(0.0, ge=0, description="factor of the loss's own terms for G; paper: 0")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        relativistic = relativistic_trick(recipe)
        if relativistic and not self.config.adversarial_weight:
            yield (
                f"feature_matching replaces the relativistic terms of {relativistic} for G; set adversarial_weight to "
                "keep them"
            )
        yield from batch_mean_warnings(recipe, self.name, "features")

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]]) -> dict[Player, list[LossTerm]]:
        factor = self.config.adversarial_weight
        adversarial = [replace(t, weight=t.weight * factor) for t in terms["generator"]] if factor else []
        own = LossTerm("feature_matching", _term, weight=self.config.weight)
        return terms | {"generator": [*adversarial, own]}


def _term(step: Step) -> Tensor:
    return feature_matching(step.real_output.features, step.fake_output.features, step.run.ranks.mean)
