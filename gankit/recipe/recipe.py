"""TOML to a validated recipe and back.

A recipe has three kinds of table: the core's own (`train`, `output`), slots that one plugin fills each (`data`,
`generator`, ...), and `tricks`, any number of plugins in the order in which they act. Everything that can be
wrong with it is found in one pass and raised as one RecipeError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from gankit.errors import PluginError, Problem, RecipeError
from gankit.plugin.base import Plugin, Settings
from gankit.plugin.component import Component
from gankit.plugin.registry import Registry
from gankit.plugin.resolve import as_plugin_class
from gankit.plugin.slots import (
    DEFAULT_USE,
    NAMED_TABLES,
    PLAYER_SLOTS,
    PLAYERS,
    SINGLE_SLOTS,
    TRICK_KINDS,
    Kind,
    Player,
)
from gankit.recipe.settings import Evaluation, Output, Train
from gankit.recipe.toml import Raw, _anchor_uses, _drop, merge, overrides_from_here, parse_overrides, read_toml
from gankit.suggest import nearest

TOP_LEVEL = (
    *("name", "seed", "requires", "train", "output", "evaluation"),
    *SINGLE_SLOTS,
    *PLAYER_SLOTS,
    *NAMED_TABLES,
    "extractor",
)


@dataclass(frozen=True)
class Recipe:
    """A validated recipe: the core's settings, and the parts in the order in which they act."""

    name: str
    seed: int
    train: Train
    output: Output
    evaluation: Evaluation
    components: dict[str, Component]
    source: str = "recipe"
    """The file it came from, for messages."""

    requires: tuple[str, ...] = ()
    """Distributions that must be installed, as pip writes them: `gankit-lecam >= 0.2`. Those that plugins come from are
    among them, so that a recipe that was run says what it takes to run it elsewhere."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        overrides: Iterable[str] = (),
        drop: Iterable[str] = (),
        registry: Registry | None = None,
    ) -> Recipe:
        """Reads and validates a TOML file.

        Args:
            path: the recipe.
            overrides: `key.path=value` with TOML values; a bare word is a string.
            drop: keys of tables or values to leave out, applied before the overrides.
            registry: what is installed, when it is not to be looked up.

        Raises:
            RecipeError: with all that is wrong with it.
            InputError: there is no such file.
        """
        path = Path(path)
        raw = read_toml(path)
        for key in drop:
            _drop(raw, key, path)
        raw = merge(raw, overrides_from_here(overrides))
        return cls.from_dict(raw, source=path, registry=registry)

    @classmethod
    def from_dict(
        cls,
        raw: Mapping[str, Any],
        source: str | Path = "recipe",
        registry: Registry | None = None,
        recorded: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Recipe:
        """Validates a recipe given as nested dictionaries.

        Files of plugins are looked for relative to `source`, or to the current folder if that is no file. `recorded`
        is what a run noted of its plugins, for a name that several distributions offer.
        """
        return RecipeParser(raw, source, registry or Registry.installed(), recorded).parse()

    def to_dict(self) -> Raw:
        """The recipe with every default written out; `from_dict` gives the same recipe again."""
        resolved: Raw = {
            "name": self.name,
            "seed": self.seed,
            "requires": list(self.requires),
            "train": self.train.model_dump(mode="json"),
            "output": self.output.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
        }
        for part in self.components.values():
            table, _, name = part.key.partition(".")
            if name:
                resolved.setdefault(table, {})[name] = part.to_dict()
            else:
                resolved[table] = part.to_dict()
        return resolved

    def to_toml(self) -> str:
        return tomli_w.dumps(self.to_dict())

    def changed(self, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> Recipe:
        """This recipe with keys left out and settings in place of its own, validated anew.

        Unlike in `load`, what is left out may come from an override of before.

        Args:
            overrides: `key.path=value` with TOML values, as on the command line.
            drop: keys of tables or values.

        Raises:
            RecipeError: with all that is wrong with it then.
            InputError: an override is none, or there is no such key.
        """
        raw = self.to_dict()
        for key in drop:
            _drop(raw, key, Path(self.source))
        above = parse_overrides(overrides)
        _anchor_uses(above, Path())
        recorded = {
            key: {"distribution": part.resolved.distribution, "version": part.resolved.version}
            for key, part in self.components.items()
        }
        return Recipe.from_dict(merge(raw, above), self.source, recorded=recorded)

    def uses(self, name: str) -> bool:
        """Whether a plugin of this name stands anywhere in the recipe."""
        return any(part.plugin_class.name == name for part in self.components.values())

    def use_of(self, key: str) -> str | None:
        """The name of the plugin at a key, `normalization.discriminator` for instance; None if there is none."""
        return self.components[key].plugin_class.name if key in self.components else None

    def coupling(self, player: Player) -> list[str]:
        """The keys of the parts that make one image's output depend on the rest of its batch in the player's network.

        A trick that couples a batch does so in the discriminator.
        """
        return [
            key
            for key, part in self.components.items()
            if part.plugin_class.batch_coupled
            and (key.endswith(f".{player}") if part.kind not in TRICK_KINDS else player == "discriminator")
        ]

    def plugin_class(self, key: str) -> type[Plugin]:
        """The class of the plugin at a key.

        Raises KeyError when nothing stands there.
        """
        return self.components[key].plugin_class


def with_sources(requires: Iterable[str], parts: Mapping[str, Component]) -> tuple[str, ...]:
    """What a recipe requires, and behind it the distributions that its plugins come from, in the versions installed."""
    required = list(requires)
    named = {"gankit", *(canonicalize_name(Requirement(one).name) for one in required)}
    for part in parts.values():
        name = canonicalize_name(part.resolved.distribution)
        if name and name not in named:
            required.append(f"{part.resolved.distribution}{_at_least(part.resolved.version)}")
            named.add(name)
    return tuple(required)


def _at_least(version: str) -> str:
    """` >= 0.2`; nothing for what is no version. What stands behind a '+' (a commit, a CUDA) is compared by nobody."""
    try:
        return f" >= {Version(version).public}"
    except InvalidVersion:
        return ""


class RecipeParser:
    """One reading of one recipe, gathering problems as it goes.

    Args:
        raw: the tables.
        source: the file, for messages.
        registry: what is installed.
        recorded: `{"distribution": ..., "version": ...}` by key, as noted when the recipe was run. Where several
            distributions offer a name, the one on record is meant.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        source: str | Path,
        registry: Registry,
        recorded: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.raw = raw
        self.source = source
        self.folder = Path(source).parent
        self.registry = registry
        self.recorded = recorded or {}
        self.problems: list[Problem] = []

    def parse(self) -> Recipe:
        for key in self.raw:
            if key not in TOP_LEVEL:
                self.problem(key, f"unknown key; {nearest(key, TOP_LEVEL)}there are {', '.join(TOP_LEVEL)}")
        name = self.raw.get("name", Path(self.source).stem)
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w .+-]{0,99}", name):
            self.problem(
                "name", f"{_short(name)} given; a name is up to 100 letters, digits, '_', '-', '.', '+' and blanks"
            )
        seed = self.raw.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            self.problem("seed", f"{_short(seed)} given; a whole number from 0 to 2^63 - 1 is wanted")
        requires = self.requirements()
        train = self.settings(Train, self.table("train"), "train")
        output = self.settings(Output, self.table("output"), "output")
        evaluation = self.settings(Evaluation, self.table("evaluation"), "evaluation")
        parts = {key: part for key, kinds, raw in self.places() if (part := self.part(key, kinds, raw))}
        if isinstance(train, Train) and train.batch_size % train.accumulate:
            self.problem(
                "train.accumulate",
                f"{train.accumulate} given; it must divide train.batch_size = {train.batch_size}",
            )
        self.raise_problems()
        assert isinstance(train, Train)
        assert isinstance(output, Output)
        assert isinstance(evaluation, Evaluation)
        return Recipe(name, seed, train, output, evaluation, parts, str(self.source), with_sources(requires, parts))

    def requirements(self) -> tuple[str, ...]:
        """What the recipe requires; each distribution that is missing or too old is a problem."""
        given = self.raw.get("requires", [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.problem("requires", f'{_short(given)} given; a list is wanted: requires = ["gankit-lecam >= 0.2"]')
            return ()
        for one in given:
            try:
                wanted = Requirement(one)
            except InvalidRequirement:
                self.problem("requires", f"{_short(one)} given; a distribution is wanted: gankit-lecam >= 0.2")
                continue
            if wanted.marker is not None and not wanted.marker.evaluate():
                continue
            version = self.registry.version_of(wanted.name)
            if version is None:
                self.problem("requires", f"{wanted.name} is not installed; try `pip install '{one}'`")
            elif not _fits(version, wanted):
                self.problem("requires", f"{one} is wanted, and {version} is installed; try `pip install '{one}'`")
        return tuple(given)

    def uses_at(self, keys: Iterable[str]) -> list[str]:
        """What the recipe names at some keys, without looking for it."""
        wanted = set(keys)
        named = [_use(raw, kinds) for key, kinds, raw in self.places() if key in wanted]
        return [use for use in named if isinstance(use, str)]

    def components_at(self, keys: Iterable[str]) -> dict[str, Component]:
        """The parts at some keys alone; nothing else of the recipe is looked at.

        Raises RecipeError with what is wrong with them.
        """
        wanted = set(keys)
        parts = {k: part for k, kinds, raw in self.places() if k in wanted and (part := self.part(k, kinds, raw))}
        self.raise_problems()
        return parts

    def raise_problems(self) -> None:
        """Raises RecipeError with all that has been found to be wrong."""
        if self.problems:
            raise RecipeError(self.source, self.problems)

    def places(self) -> Iterable[tuple[str, tuple[Kind, ...], Any]]:
        """Yield the key, the accepted kinds and the raw table of every place, in the order in which plugins act."""
        for kind in SINGLE_SLOTS:
            yield kind, (kind,), self.raw.get(kind)
        for kind in PLAYER_SLOTS:
            table = self.table(kind, PLAYERS)
            for player in PLAYERS:
                yield f"{kind}.{player}", (kind,), table.get(player)
        for named, kinds in NAMED_TABLES.items():
            for name, raw in self.table(named).items():
                key = f"{named}.{name}"
                if not name or "/" in name:
                    self.problem(
                        key, f"the name of a {kinds[0]} must not be empty or contain '/'; use = names the plugin"
                    )
                elif isinstance(raw, dict):
                    yield key, kinds, {"use": name, **raw}
                else:
                    self.problem(key, f"{_short(raw)} given; write a table: [{key}], or {key}={{}} on the command line")
        if self.raw.get("metrics") or "extractor" in self.raw:
            yield "extractor", ("extractor",), self.raw.get("extractor")

    def table(self, key: str, allowed: Iterable[str] = ()) -> Raw:
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"{_short(value)} given; a table is wanted: [{key}]")
            return {}
        for name in value:
            if allowed and name not in allowed:
                self.problem(f"{key}.{name}", f"unknown key; {nearest(name, allowed)}there are {', '.join(allowed)}")
        return value

    def part(self, key: str, kinds: tuple[Kind, ...], raw: Any) -> Component | None:
        kind = kinds[0]
        if raw is None:
            if kind not in DEFAULT_USE:
                names = ", ".join(self.registry.names(*kinds)) or "none is installed"
                self.problem(key, f'missing; fill the slot with [{key}] use = "NAME", one of: {names}')
                return None
            raw = DEFAULT_USE[kind]
        if isinstance(raw, str):
            raw = {"use": raw}
        if not isinstance(raw, dict):
            self.problem(key, f"{_short(raw)} given; a plugin's name or a table is wanted")
            return None
        settings = {name: value for name, value in raw.items() if name != "use"}
        use = _use(raw, kinds)
        if not isinstance(use, str) or not use:
            self.problem(f"{key}.use", f"{_short(use)} given; the name of a {kind} plugin is wanted")
            return None
        distribution, version = (self.recorded.get(key, {}).get(what, "") for what in ("distribution", "version"))
        try:
            found = self.registry.find(use, kinds, self.folder, distribution)
            plugin_class = as_plugin_class(found, kinds)
        except PluginError as error:
            gone = distribution and self.registry.version_of(distribution) is None
            came_with = f"; it came with {distribution} {version}, which is not installed" if gone else ""
            self.problem(f"{key}.use", f"{error}{came_with}")
            return None
        config = self.settings(plugin_class.Config, settings, key)
        return Component(key, plugin_class.kind, found.use, plugin_class, config, found) if config is not None else None

    def settings(self, model: type[Settings], raw: Raw, key: str) -> Settings | None:
        try:
            # Through JSON: strict types, yet a TOML array may fill a tuple and a string a path.
            return model.model_validate_json(json.dumps(raw, default=str), strict=True)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.problem(*_worded(detail, key, model))
        except (RecursionError, ValueError):
            self.problem(key, "nested too deeply, or with a number of thousands of digits")
        return None

    def problem(self, key: str, message: str) -> None:
        self.problems.append(Problem(key, message))


def _fits(version: str, wanted: Requirement) -> bool:
    if not wanted.specifier:
        return True
    try:
        return wanted.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _use(raw: Any, kinds: tuple[Kind, ...]) -> Any:
    """Return what a place of a raw recipe names. Not a string if it names nothing."""
    default = DEFAULT_USE.get(kinds[0])
    if isinstance(raw, dict):
        return raw.get("use", default)
    return default if raw is None else raw


def _worded(detail: Any, key: str, model: type[Settings]) -> tuple[str, str]:
    """A pydantic error as (key, sentence)."""
    path = ".".join([key, *[str(step) for step in detail["loc"]]])
    fields = list(model.model_fields)
    if detail["type"] == "extra_forbidden":
        there = f"there are {', '.join(fields)}" if fields else "it has no settings"
        return path, f"unknown key; {nearest(str(detail['loc'][-1]), fields)}{there}"
    if detail["type"] == "missing":
        field = model.model_fields.get(str(detail["loc"][0]))
        meaning = f": {field.description}" if field is not None and field.description else ""
        return path, f"missing, and it has no default{meaning}"
    message = detail["msg"].removeprefix("Value error, ")
    return path, f"{_short(detail['input'])} given; {message[0].lower()}{message[1:]}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "something too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
