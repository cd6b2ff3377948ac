"""TOML files and overrides as nested dictionaries."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gankit.errors import InputError, Problem, RecipeError
from gankit.plugin.slots import DEFAULT_USE, NAMED_TABLES, PLAYER_SLOTS, PLAYERS, SINGLE_SLOTS
from gankit.suggest import nearest

Raw = dict[str, Any]


def read_toml(path: Path) -> Raw:
    """The raw tables of a recipe, with what it `extends` beneath them.

    Raises RecipeError for a file that is not TOML, InputError for one that is not there.
    """
    return _read_extending(path, [])


def _read_extending(path: Path, below: list[Path]) -> Raw:
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
    if path.resolve() in below:
        chain = " -> ".join(p.name for p in [*below, path])
        raise RecipeError(path, [Problem("extends", f"goes round in a circle: {chain}")])
    try:
        raw = tomllib.loads(text)
        _anchor_uses(raw, path.parent)
    except RecursionError:
        raise RecipeError(path, [Problem("TOML", "nested too deeply")]) from None
    except ValueError as error:  # TOMLDecodeError, and Python's own for a number of thousands of digits
        raise RecipeError(path, [Problem("TOML", str(error))]) from None
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise RecipeError(path, [Problem("extends", f"{base!r} given; it names one recipe file")])
    try:
        beneath = _read_extending(path.parent / base, [*below, path.resolve()])
    except RecipeError:
        raise
    except InputError as error:
        raise RecipeError(path, [Problem("extends", str(error))]) from None
    required = [raw.get("requires", []), beneath.get("requires", [])]
    if all(isinstance(of, list) for of in required) and any(required):
        raw["requires"] = list(dict.fromkeys(one for of in reversed(required) for one in of))
    return merge(beneath, raw)


def _anchor_uses(raw: Raw, folder: Path) -> None:
    """Files of plugins, wherever a recipe names them, are relative to a folder."""
    for name, value in raw.items():
        if isinstance(value, dict):
            _anchor_files(value, folder)
        elif name in (*SINGLE_SLOTS, *PLAYER_SLOTS, "extractor") and isinstance(value, str):
            raw[name] = _anchored(value, folder)


def _anchor_files(table: Raw, folder: Path) -> None:
    """Files of plugins are relative to the recipe that names them, which `extends` may put elsewhere."""
    for name, value in table.items():
        if isinstance(value, dict):
            _anchor_files(value, folder)
        elif isinstance(value, str) and (name == "use" or name in PLAYERS):
            table[name] = _anchored(value, folder)


def _anchored(use: str, folder: Path) -> str:
    location, colon, class_name = use.rpartition(":")
    if colon and location.endswith(".py"):
        return f"{os.path.abspath(folder / location)}:{class_name}"
    return use


def merge(below: Raw, above: Raw, place: tuple[str, ...] = ()) -> Raw:
    """`above` laid over `below`, table by table.

    Where a plugin's `use` changes, the rest of its table below is dropped: those were settings of another plugin.

    Args:
        below, above: raw tables.
        place: the keys that lead to them.
    """
    merged = dict(below)
    for key, value in above.items():
        here, under = (*place, key), merged.get(key)
        plugin = _is_a_plugins(here)
        if plugin and isinstance(under, str) and isinstance(value, dict):
            under = {"use": under}
        if plugin and isinstance(under, dict) and isinstance(value, str):
            value = {"use": value}
        if isinstance(under, dict) and isinstance(value, dict):
            unsaid = key if place[:1] and place[0] in NAMED_TABLES else DEFAULT_USE.get(here[0])
            other_plugin = plugin and "use" in value and value["use"] != under.get("use", unsaid)
            merged[key] = dict(value) if other_plugin else merge(under, value, here)
        else:
            merged[key] = value
    return merged


def _is_a_plugins(place: tuple[str, ...]) -> bool:
    """Whether the table at some keys is a plugin's, rather than one that holds plugins or lies within a plugin's."""
    single = place[0] in (*SINGLE_SLOTS, "extractor")
    return len(place) == (1 if single else 2) and place[0] not in ("train", "output", "evaluation")


_BARE_WORD = re.compile(r"[^\s\"'\[\]{}=,#][^\"'\[\]{}=,#]*")


def parse_overrides(overrides: Iterable[str]) -> Raw:
    """`["train.iterations=100", "loss.use=hinge"]` to nested tables.

    Raises InputError for an override that is not `key=value` with a TOML value.
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
            if isinstance(inner, str) and _is_a_plugins(tuple(path[:depth])):
                # The short form, `loss=hinge`, with a setting of that plugin behind it.
                inner = table[name] = {"use": inner}
            if not isinstance(inner, dict):
                raise InputError(f"{override!r}: another override makes {name!r} a value, not a table")
            table = inner
        if isinstance(table.get(path[-1]), dict):
            if isinstance(value, str) and _is_a_plugins(tuple(path)) and "use" not in table[path[-1]]:
                table[path[-1]]["use"] = value
                continue
            raise InputError(f"{override!r}: another override makes {path[-1]!r} a table")
        table[path[-1]] = value
    return nested


def overrides_from_here(overrides: Iterable[str]) -> Raw:
    """As `parse_overrides`; a file named on the command line lies where the command was typed."""
    above = parse_overrides(overrides)
    _anchor_uses(above, Path())
    return above


def _drop(raw: Raw, key: str, source: Path) -> None:
    *tables, last = key.split(".")
    table: Any = raw
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or last not in table:
        known = [k for k in _keys(raw) if k.count(".") == len(tables)]
        raise InputError(f"--drop {key}: {source} has no such key; {nearest(key, known)}it has {', '.join(known)}")
    del table[last]


def _keys(raw: Raw, prefix: str = "") -> list[str]:
    keys = []
    for name, value in raw.items():
        keys.append(prefix + name)
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{name}.")
    return keys
