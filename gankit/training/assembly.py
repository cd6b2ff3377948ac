"""From a recipe to a run."""

from __future__ import annotations

from gankit.errors import Problem, RecipeError
from gankit.plugin.hooks import Hooks
from gankit.recipe.recipe import Recipe


def take_advice(recipe: Recipe, hooks: Hooks) -> list[str]:
    """What the plugins say about the recipe as a whole, each sentence led by the plugin's place.

    Raises RecipeError with every combination that a plugin refuses.
    """
    advice, problems = [], []
    for implementation in hooks.of("check_recipe"):
        try:
            advice += [f"{implementation.key}: {sentence}" for sentence in implementation.call(recipe) or ()]
        except ValueError as error:
            problems.append(Problem(implementation.key, str(error)))
    if problems:
        raise RecipeError(recipe.source, problems)
    if recipe.train.accumulate > 1:
        advice += [
            f"{key}: with train.accumulate an image meets only those of its own part of the batch, one "
            f"of {recipe.train.accumulate}; the result is not that of the large batch"
            for key in dict.fromkeys([*recipe.coupling("generator"), *recipe.coupling("discriminator")])
        ]
    return advice


def advice_on_ranks(recipe: Recipe, ranks: int) -> list[str]:
    """A sentence for each plugin that makes images of one batch meet, when they are spread over several ranks."""
    if ranks == 1:
        return []
    coupling = dict.fromkeys([*recipe.coupling("generator"), *recipe.coupling("discriminator")])
    synced = recipe.train.sync_batch_norm
    remedy = "" if synced else "; train.sync_batch_norm = true lets batch norm see the whole batch"
    return [
        f"{key}: an image meets only those of its own rank, one of {ranks}; the result is not that of the whole batch"
        + (remedy if key.startswith("normalization.") else "")
        for key in coupling
        if not (synced and key.startswith("normalization."))
    ]
