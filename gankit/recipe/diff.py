"""What recipes differ in, so that nobody has to remember which run was which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gankit.recipe.toml import Raw

SEED = "seed"
UNTOLD = ("name", "requires", "output.directory", "output.log_every", "output.sample_every")
"""What recipes may differ in without being told apart by it, as long as anything else tells them apart."""

NOT_LEARNT = (
    *("name", "requires", "output.", "evaluation.", "extractor.", "metrics."),
    *("train.device", "train.keep_freed_memory", "train.deterministic"),
)
"""What keys of a recipe begin with that decide nothing of what is learnt, only where something is computed, written or
measured, and how often."""


def flattened(raw: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested tables as one, with keys such as `tricks.packing.size`."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{place}{key}.")
        else:
            flat[f"{place}{key}"] = value
    return flat


def learnt_from(recipe: Raw) -> tuple[tuple[str, str], ...]:
    """All of a recipe that decides what is learnt, but for the seed: runs that have it in common are repetitions of one
    another. In the recipe's order, in which tricks act."""
    return tuple(
        (key, repr(value)) for key, value in flattened(recipe).items() if key != SEED and not key.startswith(NOT_LEARNT)
    )


def differing(recipes: Sequence[Raw]) -> list[str]:
    """The keys that recipes do not have in common, in the recipes' order.

    Where plugins differ, `use` tells, or that a table is there at all: the settings of a plugin are compared only
    where all that have a plugin at that place have the same. The order of
    tricks, where that alone differs, is the key `tricks`.
    """
    flats = [flattened(recipe) for recipe in recipes]
    keys = list(dict.fromkeys(key for flat in flats for key in flat))
    found: list[str] = []
    for key in keys:
        if _same(flats, key):
            continue
        owner = key.rpartition(".")[0]
        plugin = f"{owner}.use"
        # A table within a plugin's table is part of its settings.
        while owner and not any(plugin in flat for flat in flats):
            owner = owner.rpartition(".")[0]
            plugin = f"{owner}.use"
        if not owner or _same(flats, plugin):
            found.append(key)
            continue
        found.append(plugin)
        having = [flat for flat in flats if plugin in flat]
        if _same(having, plugin) and not _same(having, key):
            found.append(key)
    orders = [list(recipe.get("tricks", {})) for recipe in recipes]
    if any(order != orders[0] for order in orders) and all(set(order) == set(orders[0]) for order in orders):
        found.append("tricks")
    return list(dict.fromkeys(found))


def _same(flats: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all((key in flat, flat.get(key)) == (key in flats[0], flats[0].get(key)) for flat in flats)


def told(recipe: Raw, key: str) -> str:
    """What a recipe has at a key, in words: `loss hinge`, `tricks.packing`, `no tricks.packing`; of a plugin that it
    does not have, no setting is told."""
    flat, table = flattened(recipe), key.removesuffix(".use")
    if key == "tricks":
        return f"tricks in order: {', '.join(recipe.get('tricks', {}))}"
    if key not in flat:
        return f"no {table}" if table != key else ""
    named_after_it = table != key and flat[key] == table.rpartition(".")[2]
    return table if named_after_it else f"{table} {in_words(flat[key])}"


def in_words(value: Any) -> str:
    """A value of a recipe without the quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


MANY = 4
"""Differences from which on recipes are no variants of one, and names say more than the differences."""


def labels(recipes: Sequence[Raw], names: Sequence[str]) -> list[str]:
    """What tells each recipe from the others, less what more than half of them have in common; the name, where it is
    needed to tell them apart, or where nothing else does, and where recipes of names of their own differ in much."""
    keys = [key for key in differing(recipes) if key not in UNTOLD]
    words = [{key: told(recipe, key) for key in keys} for recipe in recipes]
    common = {
        (key, text) for of in words for key, text in of.items() if 2 * [o[key] for o in words].count(text) > len(words)
    }
    own_names = [str(recipe.get("name", "")) for recipe in recipes]
    if len(set(own_names)) == len(recipes) and max(len(set(of.items()) - common) for of in words) > MANY:
        return own_names
    said = [", ".join(text for item in of.items() if item not in common and (text := item[1])) for of in words]
    return [
        text if text and said.count(text) == 1 else f"{text} ({name})" if text else name
        for text, name in zip(said, names, strict=True)
    ]
