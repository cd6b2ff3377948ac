"""Parsing of recipe files (TOML) and overrides (`key=value`) into nested dictionaries."""

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gankit.errors import InputError, Problem, RecipeError
from gankit.plugin.slots import DEFAULT_USE, NAMED_TABLES, PLAYER_SLOTS, PLAYERS, SINGLE_SLOTS
from gankit.recipe.bundled import find_recipe, recipes_folder
from gankit.recipe.path import locate
from gankit.suggest import nearest

Raw = dict[str, Any]


def read_toml(path: Path) -> Raw:
    """Return the tables of a recipe file. If the recipe extends another recipe, the tables of both are merged.

    Raises:
        RecipeError: the file is not valid TOML, or a recipe that it extends is missing, invalid or part of a cycle.
        InputError: the file cannot be read.
    """
    return _read_extending(path, [])


def _read_extending(path: Path, chain: list[Path]) -> Raw:
    """Return the tables of a recipe. `chain` lists the paths to the recipes that extend it, directly or indirectly."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"there is no recipe {path}; `gankit recipes` lists those that come with gankit") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a recipe is a TOML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text; a recipe is a TOML file in UTF-8") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if path.resolve() in chain:
        circle = " -> ".join(p.name for p in [*chain, path])
        raise RecipeError(path, [Problem("extends", f"the recipes extend each other in a circle: {circle}")])
    try:
        # There are no data files beside the recipes that come with gankit. Therefore, relative paths in these recipes
        # are relative to the user's current folder.
        folder = Path() if path.resolve().parent == recipes_folder().resolve() else path.parent
        raw = with_folder(tomllib.loads(text), folder)
    except RecursionError:
        raise RecipeError(path, [Problem("TOML", "nested too deeply")]) from None
    except ValueError as error:  # the file is not valid TOML, or it contains an integer with thousands of digits
        raise RecipeError(path, [Problem("TOML", str(error))]) from None
    base = raw.pop("extends", None)
    drop, order = (names_at(path, raw, key) for key in ("drop", "order"))
    if base is None:
        if drop:
            raise RecipeError(
                path, [Problem("drop", "it removes keys of an extended recipe, and there is no `extends`")]
            )
        return in_order(path, raw, order)
    if not isinstance(base, str):
        raise RecipeError(path, [Problem("extends", f"{base!r} given; expected the path or the name of one recipe")])
    try:
        extended = find_recipe(base, path.parent)
        tables = _read_extending(extended, [*chain, path.resolve()])
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError(path, [Problem("extends", str(error))]) from None
    for key in drop:
        try:
            drop_key(tables, key, extended)
        except InputError as error:
            raise RecipeError(path, [Problem("drop", str(error))]) from None
    # Combine the lists `requires` of both recipes. Any other list replaces the list with the same key in the extended
    # recipe.
    requires = [tables.get("requires", []), raw.get("requires", [])]
    if all(isinstance(one, list) for one in requires) and any(requires):
        raw["requires"] = list(dict.fromkeys(requires[0] + requires[1]))
    return in_order(path, merge(tables, raw), order)


def names_at(path: Path, raw: Raw, key: str) -> list[str]:
    """Remove and return the list of names at a key of a recipe. If the key is missing, return an empty list.

    Raises:
        RecipeError: the value is not a list of strings.
    """
    names = raw.pop(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        example = '["tricks.r1"]' if key == "drop" else '["r1", "flip"]'
        raise RecipeError(path, [Problem(key, f"{names!r} given; expected a list such as {example}")])
    return names


def in_order(path: Path, raw: Raw, order: list[str]) -> Raw:
    """Return the tables of a recipe with its tricks in the given order. An empty `order` does not change the order.

    Raises:
        RecipeError: `order` does not contain each trick of the recipe exactly once.
    """
    tricks = raw.get("tricks", {})
    if not order or not isinstance(tricks, dict):
        return raw
    if sorted(order) != sorted(tricks):
        message = f"{order} given; it must name each trick of the recipe once: {', '.join(tricks) or 'there are none'}"
        raise RecipeError(path, [Problem("order", message)])
    return raw | {"tricks": {name: tricks[name] for name in order}}


def with_folder(raw: Raw, folder: Path) -> Raw:
    """Return the tables of a recipe with `folder` as the base folder of all relative paths."""
    located: Raw = locate(raw, folder.absolute())
    make_absolute(located, folder)
    return located


def make_absolute(raw: Raw, folder: Path) -> None:
    """Make the paths to plugin files in a recipe absolute, in place. Relative paths are relative to `folder`."""
    for name, value in raw.items():
        if isinstance(value, dict):
            _make_table_absolute(value, folder)
        elif name in (*SINGLE_SLOTS, *PLAYER_SLOTS, "extractor") and isinstance(value, str):
            raw[name] = _absolute(value, folder)


def _make_table_absolute(table: Raw, folder: Path) -> None:
    for name, value in table.items():
        if isinstance(value, dict):
            _make_table_absolute(value, folder)
        elif isinstance(value, str) and (name == "use" or name in PLAYERS):
            table[name] = _absolute(value, folder)


def _absolute(use: str, folder: Path) -> str:
    location, colon, class_name = use.rpartition(":")
    if colon and location.endswith(".py"):
        return f"{os.path.abspath(folder / location)}:{class_name}"
    return use


def merge(below: Raw, above: Raw, place: tuple[str, ...] = ()) -> Raw:
    """Merge two recipes, or two tables of recipes, and return the result. Values in `above` replace those in `below`.

    If `above` replaces a plugin by another plugin, the settings of the old plugin are dropped. `place` contains the
    keys of the tables, such as `("optimizer", "generator")`. For whole recipes, `place` is empty.
    """
    merged = dict(below)
    for key, value in above.items():
        here, old = (*place, key), merged.get(key)
        plugin = _is_plugin_table(here)
        if plugin and isinstance(old, str) and isinstance(value, dict):
            old = {"use": old}
        if plugin and isinstance(old, dict) and isinstance(value, str):
            value = {"use": value}
        if isinstance(old, dict) and isinstance(value, dict):
            default = key if place[:1] and place[0] in NAMED_TABLES else DEFAULT_USE.get(here[0])
            # A plugin's setting may be the table of another plugin, such as `data.source`.
            selects = "use" in value and (plugin or "use" in old)
            other_plugin = selects and value["use"] != old.get("use", default)
            merged[key] = dict(value) if other_plugin else merge(old, value, here)
        else:
            merged[key] = value
    return merged


def _is_plugin_table(place: tuple[str, ...]) -> bool:
    """Return True if the table at the keys `place`, such as `("optimizer", "generator")`, belongs to one plugin."""
    single = place[0] in (*SINGLE_SLOTS, "extractor")
    return len(place) == (1 if single else 2) and place[0] not in ("train", "output", "evaluation", "init")


_BARE_WORD = re.compile(r"[^\s\"'\[\]{}=,#][^\"'\[\]{}=,#]*")


def parse_overrides(overrides: Iterable[str]) -> Raw:
    """Convert overrides such as `["train.iterations=100", "loss.use=hinge"]` to nested tables.

    Raises:
        InputError: an override is not `key=value` with a TOML value.
    """
    nested: Raw = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        path = [word.strip() for word in key.split(".")]
        if not equals or not all(path):
            raise InputError(f"{override!r}: an override is key=value, for example train.iterations=100")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            if not _BARE_WORD.fullmatch(text):
                raise InputError(
                    f"{override!r}: {text!r} is not a TOML value; quote strings: {key}='\"...\"'"
                ) from None
            value = text
        table = nested
        for depth, name in enumerate(path[:-1], start=1):
            inner = table.setdefault(name, {})
            if isinstance(inner, str) and _is_plugin_table(tuple(path[:depth])):
                # An earlier override used the short form `loss=hinge`, and this override changes a setting of that
                # plugin. Therefore, convert the short form to a table.
                inner = table[name] = {"use": inner}
            if not isinstance(inner, dict):
                raise InputError(f"{override!r}: another override makes {name!r} a value, not a table")
            table = inner
        if isinstance(table.get(path[-1]), dict):
            if isinstance(value, str) and _is_plugin_table(tuple(path)) and "use" not in table[path[-1]]:
                table[path[-1]]["use"] = value
                continue
            raise InputError(f"{override!r}: another override makes {path[-1]!r} a table")
        table[path[-1]] = value
    return nested


def overrides_from_here(overrides: Iterable[str]) -> Raw:
    """Convert overrides to nested tables. Relative paths to plugin files are relative to the current folder."""
    above = parse_overrides(overrides)
    make_absolute(above, Path())
    return above


def drop_key(raw: Raw, key: str, source: Path) -> None:
    """Delete the table or value at a dotted key of a recipe, in place. Raise InputError if there is no such key."""
    *tables, last = key.split(".")
    table: Any = raw
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or last not in table:
        known = [k for k in _keys(raw) if k.count(".") == len(tables)]
        raise InputError(f"{source} has no key {key!r} to drop; {nearest(key, known)}it has {', '.join(known)}")
    del table[last]


def _keys(raw: Raw, prefix: str = "") -> list[str]:
    """Return the dotted keys of all tables and values in nested tables, such as `train` and `train.device`."""
    keys = []
    for name, value in raw.items():
        keys.append(prefix + name)
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{name}.")
    return keys
