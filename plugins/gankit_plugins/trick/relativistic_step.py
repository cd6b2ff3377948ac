"""A turn in which D is asked how much more real one image is than another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from gankit import LossTerm, Player, Step

if TYPE_CHECKING:
    from gankit import RecipeInfo

Relation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""C(x_r) and C(x_f), (B,) each, to the relative answers of the real and of the fake images, (B,) each."""


def refuse_feature_matching_before(recipe: RecipeInfo, name: str) -> None:
    """Raises ValueError when feature_matching stands before a relativistic trick, which would replace its term."""
    names = [part.plugin_class.name for part in recipe.components.values()]
    if "feature_matching" in names and names.index("feature_matching") < names.index(name):
        raise ValueError(
            "stands behind feature_matching, whose term for G it would put out, since G's terms are made from D's; "
            "put feature_matching last"
        )


def relative_terms(terms: dict[Player, list[LossTerm]], relation: Relation) -> dict[Player, list[LossTerm]]:
    """The terms of any loss, with relative answers in place of D's own (Jolicoeur-Martineau 2018, section 4).

    D's terms see the relative answers. G has D's terms with the two sides exchanged: it wants fake images to look as
    much more real than real ones as D wants the opposite.
    """

    def of_discriminator(term: LossTerm) -> LossTerm:
        return replace(term, function=lambda step: term.function(related(step, relation)))

    def of_generator(term: LossTerm) -> LossTerm:
        return replace(term, function=lambda step: term.function(exchanged(related(step, relation))))

    return {
        "generator": [of_generator(term) for term in terms["discriminator"]],
        "discriminator": [of_discriminator(term) for term in terms["discriminator"]],
    }


def related(step: Step, relation: Relation) -> Step:
    """The step with relative answers; D's features stay."""
    real, fake = relation(step.real_output.logits, step.fake_output.logits)
    return step.with_outputs(step.real_output._replace(logits=real), step.fake_output._replace(logits=fake))


def exchanged(step: Step) -> Step:
    """The step with fake images in the place of real ones: what D wants of the one side, G wants of the other."""
    return step.with_outputs(
        step.fake_output,
        step.real_output,
        real_target=step.generator_target,
        fake_target=1 - step.generator_target,
        real_weight=step.fake_weight,
        fake_weight=step.real_weight,
    )
