"""What recipes differ in, so that nobody has to remember which run was which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gankit.recipe import Raw

SEED = "seed"
UNTOLD = ("name", "requires", "output.directory", "output.log_every", "output.sample_every")
"""What recipes may differ in without being told apart by it, as long as anything else tells them apart."""

NOT_LEARNT = ("name", "requires", "output.", "train.device", "train.keep_freed_memory", "train.deterministic")
"""What keys of a recipe begin with that decide nothing of what is learnt, only where and how often something is
written."""


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


def told(recipe: Raw, keys: Sequence[str]) -> list[str]:
    """What a recipe has at some keys, in words: `loss.use hinge`, `tricks.packing`, `no tricks.packing`."""
    flat, words = flattened(recipe), []
    for key in keys:
        table = key.removesuffix(".use")
        if key == "tricks":
            words.append(f"tricks in order: {', '.join(recipe.get('tricks', {}))}")
        elif key in flat:
            named = table != key and flat[key] == table.rpartition(".")[2]
            words.append(table if named else f"{key.removesuffix('.use')} {in_words(flat[key])}")
        elif table != key:
            words.append(f"no {table}")
    return words


def in_words(value: Any) -> str:
    """A value of a recipe without the quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def labels(recipes: Sequence[Raw], names: Sequence[str]) -> list[str]:
    """What tells each recipe from the others; the name, where it is needed to, or where nothing does."""
    keys = [key for key in differing(recipes) if key not in UNTOLD]
    said = [", ".join(told(recipe, keys)) for recipe in recipes]
    return [
        text if text and said.count(text) == 1 else f"{text} ({name})" if text else name
        for text, name in zip(said, names, strict=True)
    ]
