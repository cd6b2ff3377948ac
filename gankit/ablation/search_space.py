"""Values of settings that `gankit search` may choose: a range of numbers, or a list of values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gankit.ablation.variants import variant_errors
from gankit.errors import InputError
from gankit.formatting import brief
from gankit.recipe.diff import WITHOUT_EFFECT, flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw, merge, overrides_from_here

LOG_FACTOR = 10
"""Minimum ratio of the bounds for a logarithmic range. `log:` or `linear:` before a range overrides this rule."""

NOT_COMPARABLE = (*WITHOUT_EFFECT, "data", "train.iterations")
"""Prefixes of keys that cannot be varied.

They do not affect the training, or the metrics of two trials could not be compared: the real images or the number of
iterations would differ.
"""

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?:(log|linear):)?({_NUMBER})\.\.({_NUMBER})")
_SPLIT = re.compile(r""",(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")  # commas outside quotes

Value = float | str
"""Value of a setting in a trial: a number from a range, or one of the texts of `Choices`."""


@dataclass(frozen=True)
class Range:
    """Range of a number. The bounds are integers if the setting is an integer; both bounds are included."""

    key: str
    low: float
    high: float
    log: bool

    @property
    def values(self) -> list[Value]:
        """Values that are checked before the search: both bounds."""
        return [self.low, self.high]

    def changes(self, value: Value) -> Raw:
        """Return nested tables with the setting at a value."""
        return overrides_from_here([f"{self.key}={value!r}"])

    def describe(self) -> str:
        """Return the range as text, such as `1e-05 to 0.001, logarithmic`."""
        return f"{brief(self.low)} to {brief(self.high)}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """List of values of a setting, as texts. `tables` contains the nested tables with the setting for each text."""

    key: str
    tables: dict[str, Raw]

    @property
    def values(self) -> list[Value]:
        """Values that are checked before the search: all values."""
        return list(self.tables)

    def changes(self, value: Value) -> Raw:
        """Return nested tables with the setting at a value."""
        return self.tables[str(value)]

    def describe(self) -> str:
        """Return the values as text, such as `hinge or wasserstein`."""
        return " or ".join(self.tables)


Variation = Range | Choices


def to_json(variation: Variation) -> dict[str, Any]:
    """Return a variation as JSON values. `from_json` is the inverse."""
    return asdict(variation)


def from_json(record: dict[str, Any]) -> Variation:
    """Return the variation that `to_json` returned as JSON values."""
    return Choices(**record) if "tables" in record else Range(**record)


def parse_variations(recipe: Recipe, options: Sequence[str]) -> list[Variation]:
    """Parse the values of --vary: `KEY=LOW..HIGH`, `KEY=log:LOW..HIGH`, `KEY=linear:LOW..HIGH` or `KEY=A,B,C`.

    Raises:
        InputError: an option has another form, its key cannot be varied, or the recipe rejects one of the values.
    """
    if not options:
        raise InputError("--vary: missing; give a setting and its values, such as optimizer.generator.lr=1e-5..1e-3")
    variations = [_parse(recipe, option) for option in options]
    keys = [variation.key for variation in variations]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"--vary {repeated}: given twice; give all its values in one option")
    return variations


def _parse(recipe: Recipe, option: str) -> Variation:
    key, equals, text = (part.strip() for part in option.partition("="))
    if not equals or not all(name.strip() for name in key.split(".")):
        raise InputError(f"--vary {option}: expected KEY=LOW..HIGH or KEY=A,B,C")
    if key == "seed":
        raise InputError(f"--vary {option}: the best seed would be luck; all trials use the seed of the recipe")
    if key.startswith(NOT_COMPARABLE):
        raise InputError(f"--vary {option}: trials with different values of {key} cannot be compared; set {key}=VALUE")
    if found := _RANGE.fullmatch(text):
        return _parse_range(recipe, option, key, *found.groups())
    values = split_values(text)
    if len(values) < 2 or not all(values):
        raise InputError(
            f"--vary {option}: expected two numbers such as {key}=1e-5..1e-3, or several values such as {key}=A,B,C"
        )
    if repeated := next((value for value in values if values.count(value) > 1), None):
        raise InputError(f"--vary {option}: {repeated} is given twice; give each value once")
    choices = Choices(key, {value: overrides_from_here([f"{key}={value}"]) for value in values})
    for value in values:
        # A table may contain settings that cannot be varied, such as `train={iterations=100}`.
        if fixed := next((name for name in flattened(choices.tables[value]) if name.startswith(NOT_COMPARABLE)), None):
            raise InputError(f"--vary {option}: trials with different values of {fixed} cannot be compared")
        changed(recipe, choices, value)
    return choices


def _parse_range(recipe: Recipe, option: str, key: str, scale: str | None, low: str, high: str) -> Range:
    lowest, highest = float(low), float(high)
    if not lowest < highest < math.inf:
        raise InputError(f"--vary {option}: the first number must be smaller than the second; write LOW..HIGH")
    if scale == "log" and lowest <= 0:
        raise InputError(f"--vary {option}: a logarithmic range needs numbers above 0; write linear:{low}..{high}")
    log = scale == "log" or (scale is None and lowest > 0 and highest >= LOG_FACTOR * lowest)
    for bound in (low, high):
        with variant_errors(f"--vary {key}={bound}"):
            value = flattened(recipe.changed([f"{key}={bound}"]).to_dict()).get(key)
    # The validated recipe contains an integer if and only if the setting is one.
    return Range(key, int(low), int(high), log) if isinstance(value, int) else Range(key, lowest, highest, log)


def split_values(text: str) -> list[str]:
    """Split a list of TOML values at the commas that are outside of quotes and brackets."""
    values, depth = [""], 0
    for part in _SPLIT.split(text):
        values[-1] += part
        depth += sum(part.count(c) for c in "[{") - sum(part.count(c) for c in "]}")
        values[-1:] = [f"{values[-1]},"] if depth > 0 else [values[-1].strip(), ""]
    return values[:-1] if depth == 0 else [text]


def changed(recipe: Recipe, variation: Variation, value: Value) -> Recipe:
    """Return the recipe with one setting at a value. If the recipe rejects the value, the error names --vary."""
    with variant_errors(f"--vary {variation.key}={value}"):
        return recipe.merged(variation.changes(value))


def changes_of(space: Iterable[Variation], values: Mapping[str, Value]) -> Raw:
    """Return nested tables with all varied settings at the given values.

    The choice of a plugin drops the settings of another plugin, so it is merged before the settings of the plugin.
    """
    tables: Raw = {}
    for variation in sorted(space, key=lambda one: one.key.removesuffix(".use").count(".")):
        tables = merge(tables, variation.changes(values[variation.key]))
    return tables


def own_values(recipe: Recipe, space: Iterable[Variation]) -> dict[str, Value] | None:
    """Return the values that a recipe has for the varied settings, or None if one of them cannot be chosen."""
    tables, values = recipe.to_dict(), dict[str, Value]()
    for variation in space:
        value: Value | None
        if isinstance(variation, Choices):
            same = (text for text, changes in variation.tables.items() if recipe.merged(changes).to_dict() == tables)
            value = next(same, None)
        else:
            value = flattened(tables).get(variation.key)
            # A setting may also be a word, such as `auto`.
            value = value if isinstance(value, int | float) and variation.low <= value <= variation.high else None
        if value is None:
            return None
        values[variation.key] = value
    return values


def checked_recipes(recipe: Recipe, space: Iterable[Variation]) -> list[tuple[str, Recipe]]:
    """Return a recipe for each value that is checked before the search, with the text of the option for messages."""
    return [
        (f"--vary {variation.key}={value}", changed(recipe, variation, value))
        for variation in space
        for value in variation.values
    ]
