"""Loss terms computed from differences of D's logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from gankit import LossTerm, Player, RecipeInfo, Step
from gankit_plugins.layers.exchange import exchange_sides

Relation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Function that maps D's logits of real and of fake images, (B,) each, to differences of logits, (B,) each."""


def check_feature_matching_order(recipe: RecipeInfo, name: str) -> None:
    """Raise a ValueError if `feature_matching` comes before the relativistic trick `name` in the recipe.

    The relativistic trick would then replace the feature-matching loss of G.
    """
    names = [component.plugin_class.name for component in recipe.components.values()]
    if "feature_matching" in names and names.index("feature_matching") < names.index(name):
        raise ValueError(
            "the trick comes after feature_matching and would replace its term for G, because it derives G's terms "
            "from D's; put feature_matching last"
        )


def relative_terms(terms: dict[Player, list[LossTerm]], relation: Relation) -> dict[Player, list[LossTerm]]:
    """Return the terms of a loss, computed from differences of logits (Jolicoeur-Martineau 2018, section 4).

    The terms of G are the terms of D with real and fake images exchanged.
    """

    def discriminator_term(term: LossTerm) -> LossTerm:
        return replace(term, function=lambda step: term.function(with_relative_logits(step, relation)))

    def generator_term(term: LossTerm) -> LossTerm:
        return replace(term, function=lambda step: term.function(exchange_sides(with_relative_logits(step, relation))))

    return {
        "generator": [generator_term(term) for term in terms["discriminator"]],
        "discriminator": [discriminator_term(term) for term in terms["discriminator"]],
    }


def with_relative_logits(step: Step, relation: Relation) -> Step:
    """Return a copy of the step with differences of logits in place of D's logits. D's features do not change."""
    real, fake = relation(step.real_output.logits, step.fake_output.logits)
    return step.with_outputs(step.real_output._replace(logits=real), step.fake_output._replace(logits=fake))
