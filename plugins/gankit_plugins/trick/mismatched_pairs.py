"""Mismatched pairs: D also gets real images with a wrong condition, such as the caption of another image, as fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from gankit import InputError, LossTerm, Player, Plugin, RecipeInfo, Run, Spec, Step, hookimpl
from gankit_plugins.layers.probe import probe


def mismatched(condition: Tensor) -> Tensor:
    """Return another condition of the batch for each row: the next row, in cyclic order, with a different value.

    If all B rows of `condition`, (B, ...), are equal, they are returned unchanged.
    """
    rows = condition.flatten(1) if condition.dim() > 1 else condition[:, None]
    count = len(rows)
    different = (rows[:, None] != rows[None]).any(2)
    # Column k of `following` is the row k places after the row, so the first True is the next different row.
    following = (torch.arange(count, device=rows.device)[:, None] + torch.arange(count, device=rows.device)) % count
    step = different.gather(1, following).float().argmax(1)
    return condition[following.gather(1, step[:, None])[:, 0]]


def with_mismatched_fakes(step: Step) -> Step:
    """Return a copy of the step in which the fakes are the real images with the conditions of other images."""
    images, condition = step.real_inputs
    assert condition is not None, "adjust_spec refuses data without a condition"
    return step.with_outputs(step.real_output, step.discriminate(images, mismatched(condition)))


class MismatchedPairs(Plugin):
    """Real images with a wrong condition as additional fakes for D, which must then look at the condition.

    Source: Reed 2016, section 4.2 and algorithm 1; Zhang 2017, section 3.3. D's loss is the mean of its usual loss and
    of its loss with real images and the conditions of other images of the batch as fakes. With the loss
    `non_saturating`, the two kinds of fakes then have half of the weight of the real images, as in algorithm 1. The
    term `mismatched` is the second loss. It needs an additional forward pass of D.

    When to use: for text to image, with a discriminator that takes the text. Also with attributes.
    When not: with a discriminator that ignores the condition; it is refused.
    """

    name = "mismatched_pairs"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        names = [component.plugin_class.name for component in recipe.components.values()]
        later = names[names.index(self.name) :]
        if wrong := next((name for name in ("relativistic", "relativistic_average") if name in later), None):
            raise ValueError(f"{wrong} comes later and would derive a loss of G from the pairs; put {wrong} first")
        return ()

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.condition is None:
            raise InputError(f"the data have no condition, so no pair can be wrong; remove {self.name}")

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]]:
        if run.recipe.train.batch_size == 1:
            raise InputError(
                f"train.batch_size = 1: {self.name} takes the wrong conditions from other images of the batch; set "
                "train.batch_size to at least 2"
            )
        refuse_blind(run.discriminator, run)
        halves = []
        for term in terms["discriminator"]:
            assert isinstance(term.weight, int | float), "the losses have constant weights"
            half = replace(term, weight=term.weight / 2)
            name = "mismatched" if term.name == "adversarial" else f"mismatched_{term.name}"
            halves += [half, replace(half, name=name, function=on_mismatched(term))]
        return terms | {"discriminator": halves}


def on_mismatched(term: LossTerm) -> Callable[[Step], Tensor]:
    """Return the function of a loss term for mismatched fakes."""
    return lambda step: term.function(with_mismatched_fakes(step))


def refuse_blind(discriminator: nn.Module, run: Run) -> None:
    """Raise InputError if the output of D does not depend on the condition."""
    one, other = (probe(discriminator, run, shift).logits for shift in (0, 1))
    if torch.equal(one, other):
        raise InputError(
            f"the discriminator {run.recipe.use_of('discriminator')} ignores the condition, so it cannot detect wrong "
            "pairs; use one that takes it, such as stackgan, or remove mismatched_pairs"
        )
