"""Comparison of recipes: the settings that differ, and short names for runs (labels) that list these settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from gankit.recipe.toml import Raw

SEED = "seed"
UNNAMED = ("name", "requires", "output.directory", "output.log_every", "output.sample_every")
"""Keys of settings that never appear in run labels, the short names of runs in a report."""

WITHOUT_EFFECT = (
    *("name", "requires", "output.", "evaluation.", "extractor.", "metrics."),
    *("train.device", "train.keep_freed_memory", "train.deterministic"),
)
"""Key prefixes of settings that do not affect the training, such as the device, output files and metrics."""

MAX_DIFFERENCES = 4  # maximum number of settings in a run label


def flattened(raw: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Flatten nested tables into one dictionary with dotted keys, such as `tricks.packing.size`."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{place}{key}.")
        else:
            flat[f"{place}{key}"] = value
    return flat


def training_settings(recipe: Raw) -> tuple[tuple[str, str], ...]:
    """Return the settings that affect the training, as (key, value) pairs. The seed is left out.

    Two runs with equal pairs are repetitions of the same experiment. The pairs are in the order of the recipe, because
    the order of the tricks affects the training.
    """
    return tuple(
        (key, repr(value))
        for key, value in flattened(recipe).items()
        if key != SEED and not key.startswith(WITHOUT_EFFECT)
    )


def differing_keys(recipes: Sequence[Raw]) -> list[str]:
    """Return the keys of the settings that differ between recipes, in the order of the recipes.

    If the recipes use different plugins at the same key, the returned key ends in `use`, for example `loss.use`. The
    settings of a plugin are compared only if all recipes with a plugin at this key use the same plugin. If only the
    order of the tricks differs, the returned key is `tricks`.
    """
    flats = [flattened(recipe) for recipe in recipes]
    differing: list[str] = []
    for key in dict.fromkeys(key for flat in flats for key in flat):
        if _same(flats, key):
            continue
        owner = key.rpartition(".")[0]
        # `key` may be in a nested table of a plugin. Therefore, search the outer tables for the plugin's own table,
        # which has the key `use`.
        while owner and not any(f"{owner}.use" in flat for flat in flats):
            owner = owner.rpartition(".")[0]
        use = f"{owner}.use"
        if not owner or _same(flats, use):
            differing.append(key)
            continue
        differing.append(use)
        having = [flat for flat in flats if use in flat]
        if _same(having, use) and not _same(having, key):
            differing.append(key)
    orders = [list(recipe.get("tricks", {})) for recipe in recipes]
    if any(order != orders[0] for order in orders) and all(set(order) == set(orders[0]) for order in orders):
        differing.append("tricks")
    return list(dict.fromkeys(differing))


def _same(flats: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all((key in flat, flat.get(key)) == (key in flats[0], flats[0].get(key)) for flat in flats)


def describe_setting(recipe: Raw, key: str) -> str:
    """Return a short text for a setting in a run label, such as `loss hinge` for the key `loss.use`.

    For a plugin that the recipe does not contain, the text is, for example, `no tricks.packing`. For any other missing
    setting, the text is empty.
    """
    flat, table = flattened(recipe), key.removesuffix(".use")
    if key == "tricks":
        return f"tricks in order: {', '.join(recipe.get('tricks', {}))}"
    if key not in flat:
        return f"no {table}" if table != key else ""
    named_after_plugin = table != key and flat[key] == table.rpartition(".")[2]
    return table if named_after_plugin else f"{table} {format_value(flat[key])}"


def format_value(value: Any) -> str:
    """Return a value of a recipe as text: strings without quotes, booleans as `true` or `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def distinct_labels(recipes: Sequence[Raw], names: Sequence[str]) -> list[str]:
    """Return a label for each recipe. The label lists the settings that differ from those of most other recipes.

    `names` contains one name for each recipe. The name is appended to a label that is not unique, and replaces an empty
    label. If a label would list more than `MAX_DIFFERENCES` settings, and the setting `name` is different in all
    recipes, the values of `name` are returned instead.
    """
    keys = [key for key in differing_keys(recipes) if key not in UNNAMED]
    settings = [{key: describe_setting(recipe, key) for key in keys} for recipe in recipes]
    common = {
        (key, text)
        for own in settings
        for key, text in own.items()
        if 2 * [other[key] for other in settings].count(text) > len(settings)
    }
    own_names = [str(recipe.get("name", "")) for recipe in recipes]
    most = max(len(set(own.items()) - common) for own in settings)
    if len(set(own_names)) == len(recipes) and most > MAX_DIFFERENCES:
        return own_names
    labels = [", ".join(text for item in own.items() if item not in common and (text := item[1])) for own in settings]
    return [
        label if label and labels.count(label) == 1 else f"{label} ({name})" if label else name
        for label, name in zip(labels, names, strict=True)
    ]
