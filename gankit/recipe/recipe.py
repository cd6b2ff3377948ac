"""Validated recipe, read from the tables of a TOML file. The recipe can be converted back to TOML.

A recipe has three kinds of table: settings of gankit itself (`train`, `output`, `evaluation`, `init`), tables of
single plugins (`data`, `optimizer.generator`, ...), and tables of several plugins (`tricks`, `metrics`). The plugins in
`tricks` are called in the order in which the file lists them. If the recipe is invalid, one RecipeError lists all
mistakes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
from gankit.plugin.schedule import NUMBER, SCHEDULE, Schedule
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
from gankit.recipe.bundled import recipes_folder
from gankit.recipe.path import below, folders_of
from gankit.recipe.settings import Evaluation, Init, Output, Train
from gankit.recipe.toml import Raw, drop_key, merge, overrides_from_here, read_toml
from gankit.suggest import nearest

S = TypeVar("S", bound=Settings)

TOP_LEVEL = (
    *("name", "seed", "requires", "train", "output", "evaluation", "init"),
    *SINGLE_SLOTS,
    *PLAYER_SLOTS,
    *NAMED_TABLES,
    "extractor",
)


@dataclass(frozen=True)
class Recipe:
    """Validated recipe: settings of gankit itself, and plugins in the order in which they are called."""

    name: str
    seed: int
    train: Train
    output: Output
    evaluation: Evaluation
    components: dict[str, Component]
    source: str = "recipe"
    """Path to the recipe file, for error messages. For a recipe that comes with gankit, only its name."""

    requires: tuple[str, ...] = ()
    """Requirements in pip's format, such as `gankit-lecam >= 0.2`.

    The requirements include the distribution of every plugin, except for gankit itself.
    """

    init: Init = field(default_factory=lambda: Init.model_validate({}))
    """Table `[init]`: paths to trained networks whose weights are the initial weights of a new run."""

    @classmethod
    def load(
        cls, path: str | Path, overrides: Iterable[str] = (), drop: Iterable[str] = (), registry: Registry | None = None
    ) -> Recipe:
        """Read a recipe from a TOML file and validate it.

        Args:
            path: path to the TOML file.
            overrides: settings that replace those of the file, such as `train.iterations=100`. Values are written as in
                TOML, but simple strings, such as `hinge`, need no quotes.
            drop: keys of tables or values that are deleted before the overrides are applied.
            registry: plugins that the recipe may use. Default: all installed plugins.

        Raises:
            RecipeError: the recipe is invalid. The error lists all mistakes.
            InputError: the file cannot be read.
        """
        path = Path(path)
        raw = read_toml(path)
        # For a recipe that comes with gankit, messages contain the name instead of the path, because the user specifies
        # such a recipe by name.
        source = Path(path.stem) if path.parent == recipes_folder() else path
        for key in drop:
            drop_key(raw, key, source)
        raw = merge(raw, overrides_from_here(overrides))
        return cls.from_dict(raw, source=source, registry=registry)

    @classmethod
    def from_dict(
        cls,
        raw: Mapping[str, Any],
        source: str | Path = "recipe",
        registry: Registry | None = None,
        recorded: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Recipe:
        """Validate a recipe given as nested dictionaries.

        Args:
            raw: tables of the recipe.
            source: path to the recipe file, for error messages. Paths to plugin files are relative to the folder of the
                recipe.
            registry: plugins that the recipe may use. Default: all installed plugins.
            recorded: `distribution` and `version` of each plugin, as recorded in an earlier run. The dictionary's keys
                are the plugins' keys in the recipe. If several distributions have a plugin of the same name, the
                recorded distribution is used.

        Raises:
            RecipeError: the recipe is invalid. The error lists all mistakes.
        """
        return RecipeParser(raw, source, registry or Registry.installed(), recorded).parse()

    def to_dict(self) -> Raw:
        """Return the recipe as nested dictionaries with all default values. `from_dict` is the inverse."""
        resolved: Raw = {
            "name": self.name,
            "seed": self.seed,
            "requires": list(self.requires),
            "train": self.train.model_dump(mode="json"),
            "output": self.output.model_dump(mode="json", exclude_none=True),
            "evaluation": self.evaluation.model_dump(mode="json"),
        }
        if init := self.init.model_dump(mode="json", exclude_defaults=True):
            resolved["init"] = init
        for component in self.components.values():
            table, _, name = component.key.partition(".")
            if name:
                resolved.setdefault(table, {})[name] = component.to_dict()
            else:
                resolved[table] = component.to_dict()
        return resolved

    def to_toml(self) -> str:
        """Return the recipe as TOML text, with all default values."""
        return tomli_w.dumps(self.to_dict())

    def changed(self, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> Recipe:
        """Return a changed copy of this recipe, validated again. The arguments have the same meaning as in `load`.

        Raises:
            RecipeError: the new recipe is invalid. The error lists all mistakes.
            InputError: an override is not `key=value`, or a key to drop does not exist.
        """
        return self.merged(overrides_from_here(overrides), drop)

    def merged(self, tables: Raw, drop: Iterable[str] = ()) -> Recipe:
        """Return a changed copy of this recipe, validated again. Its tables are merged with `tables`.

        Raises:
            RecipeError: the new recipe is invalid. The error lists all mistakes.
            InputError: a key to drop does not exist.
        """
        raw = self.to_dict()
        for key in drop:
            drop_key(raw, key, Path(self.source))
        recorded = {
            key: {"distribution": component.resolved.distribution, "version": component.resolved.version}
            for key, component in self.components.items()
        }
        return Recipe.from_dict(merge(raw, tables), self.source, recorded=recorded)

    def uses(self, name: str) -> bool:
        """Return True if the recipe uses a plugin called `name`."""
        return any(component.plugin_class.name == name for component in self.components.values())

    def use_of(self, key: str) -> str | None:
        """Return the name of the plugin at a key, such as `loss`, or None if there is no plugin at this key."""
        return self.components[key].plugin_class.name if key in self.components else None

    def coupling(self, player: Player) -> list[str]:
        """Return the keys of the plugins that make a player's output for one image depend on the whole batch.

        These plugins, such as batch norm, have the class attribute `batch_coupled = True`. The plugins of the player's
        network and of its normalisation are considered. Tricks are considered only for the discriminator.
        """
        return [
            key
            for key, component in self.components.items()
            if component.plugin_class.batch_coupled
            and (
                player == "discriminator"
                if component.kind in TRICK_KINDS
                else key in (player, f"normalization.{player}")
            )
        ]

    def plugin_class(self, key: str) -> type[Plugin]:
        """Return the class of the plugin at a key, such as `loss`. Raise KeyError if there is no plugin at this key."""
        return self.components[key].plugin_class


def with_distributions(requires: Iterable[str], components: Mapping[str, Component]) -> tuple[str, ...]:
    """Add a requirement to `requires` for each distribution with a plugin of the recipe, and return the result.

    An added requirement allows the installed version and later versions, for example `gankit-lecam >= 0.2`. No
    requirement is added for gankit itself, or for a distribution that `requires` already contains.
    """
    required = list(requires)
    named = {"gankit", *(canonicalize_name(Requirement(one).name) for one in required)}
    for component in components.values():
        plugin = component.resolved
        name = canonicalize_name(plugin.distribution)
        if name and name not in named:
            required.append(f"{plugin.distribution}{_at_least(plugin.version)}")
            named.add(name)
    return tuple(required)


def _at_least(version: str) -> str:
    """Return the text that requires a minimum version, such as ` >= 0.2` for the version `0.2`.

    The local version label, such as `+cu126`, is removed. For an invalid version, the text is empty.
    """
    try:
        return f" >= {Version(version).public}"
    except InvalidVersion:
        return ""


class RecipeParser:
    """Parser of one recipe. The parser collects all mistakes and then raises one error.

    The arguments are the same as those of `Recipe.from_dict`.
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
        """Return the validated recipe, or raise a RecipeError that lists all mistakes."""
        for key in self.raw:
            if key not in TOP_LEVEL:
                self.problem(key, f"unknown key; {nearest(key, TOP_LEVEL)}there are {', '.join(TOP_LEVEL)}")
        name = self.raw.get("name", Path(self.source).stem)
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w .+-]{0,99}", name):
            self.problem(
                "name", f"{_short(name)} given; expected up to 100 letters, digits, '_', '-', '.', '+' and blanks"
            )
        seed = self.raw.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            self.problem("seed", f"{_short(seed)} given; expected an integer from 0 to 2^63 - 1")
        requires = self.requirements()
        train = self.settings(Train, self.table("train"), "train")
        output = self.settings(Output, self.table("output"), "output")
        evaluation = self.settings(Evaluation, self.table("evaluation"), "evaluation")
        init = self.init()
        components = {
            key: component for key, kinds, raw in self.places() if (component := self.component(key, kinds, raw))
        }
        if train is not None and train.batch_size % train.accumulate:
            message = f"{train.accumulate} given; it must divide train.batch_size = {train.batch_size}"
            self.problem("train.accumulate", message)
        self.raise_problems()
        assert train is not None and output is not None and evaluation is not None and init is not None  # noqa: PT018
        requires = with_distributions(requires, components)
        return Recipe(name, seed, train, output, evaluation, components, str(self.source), requires, init)

    def init(self) -> Init | None:
        """Return the settings in `[init]`, with absolute paths. If there are problems, record them and return None."""
        table = dict(self.table("init"))
        for name, value in table.items():
            if isinstance(value, (str, Path)):
                try:
                    table[name] = below(value, getattr(value, "folder", Path()))
                except ValueError as error:
                    self.problem(f"init.{name}", str(error))
        return self.settings(Init, table, "init")

    def requirements(self) -> tuple[str, ...]:
        """Return the setting `requires`. Record a problem for each missing distribution and each unsuitable version."""
        given = self.raw.get("requires", [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.problem("requires", f'{_short(given)} given; expected a list: requires = ["gankit-lecam >= 0.2"]')
            return ()
        for one in given:
            try:
                required = Requirement(one)
            except InvalidRequirement:
                self.problem("requires", f"{_short(one)} given; expected a distribution: gankit-lecam >= 0.2")
                continue
            if required.marker is not None and not required.marker.evaluate():
                continue
            version = self.registry.version_of(required.name)
            if version is None:
                self.problem("requires", f"{required.name} is not installed; try `pip install '{one}'`")
            elif not _fits(version, required):
                self.problem("requires", f"{version} is installed, and {one} is required; try `pip install '{one}'`")
        return tuple(given)

    def uses_at(self, keys: Iterable[str]) -> list[str]:
        """Return the value of `use` for each plugin at the given keys. The plugins are not imported.

        The result includes each `use` in a setting that is a table, such as the dataset of a data plugin.
        """
        requested = set(keys)
        places = [place for place in self.places() if place[0] in requested]
        uses = [use for _, kinds, raw in places for use in (_use(raw, kinds), *_nested_uses(raw))]
        return [use for use in uses if isinstance(use, str)]

    def components_at(self, keys: Iterable[str]) -> dict[str, Component]:
        """Return the plugins at the given keys with their settings. Raise RecipeError if the plugins are invalid.

        Plugins at other keys are not imported.
        """
        requested = [place for place in self.places() if place[0] in set(keys)]
        components = {key: component for key, kinds, raw in requested if (component := self.component(key, kinds, raw))}
        self.raise_problems()
        return components

    def raise_problems(self) -> None:
        """Raise a RecipeError that lists all recorded problems. Do nothing if there are no problems."""
        if self.problems:
            raise RecipeError(self.source, self.problems)

    def places(self) -> Iterable[tuple[str, tuple[Kind, ...], Any]]:
        """Yield (key, allowed kinds, unvalidated table) for each plugin, in the order in which plugins are called."""
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
                    self.problem(
                        key, f"{_short(raw)} given; expected a table: [{key}], or {key}={{}} on the command line"
                    )
        if self.raw.get("metrics") or "extractor" in self.raw:
            yield "extractor", ("extractor",), self.raw.get("extractor")

    def table(self, key: str, allowed: Iterable[str] = ()) -> Raw:
        """Return a table of the recipe. If `allowed` is given, record a problem for each key not in `allowed`."""
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"{_short(value)} given; expected a table: [{key}]")
            return {}
        for name in value:
            if allowed and name not in allowed:
                self.problem(f"{key}.{name}", f"unknown key; {nearest(name, allowed)}there are {', '.join(allowed)}")
        return value

    def component(self, key: str, kinds: tuple[Kind, ...], raw: Any) -> Component | None:
        """Return the plugin at a key with its validated settings. If there is a problem, record it and return None."""
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
            self.problem(key, f"{_short(raw)} given; expected the name of a plugin or a table")
            return None
        settings = {name: value for name, value in raw.items() if name != "use"}
        use = _use(raw, kinds)
        if not isinstance(use, str) or not use:
            self.problem(f"{key}.use", f"{_short(use)} given; expected the name of a {kind} plugin")
            return None
        distribution, version = (self.recorded.get(key, {}).get(what, "") for what in ("distribution", "version"))
        try:
            resolved = self.registry.find(use, kinds, self.folder, distribution)
            plugin_class = as_plugin_class(resolved, kinds)
        except PluginError as error:
            missing = distribution and self.registry.version_of(distribution) is None
            hint = f"; it was part of {distribution} {version}, which is not installed" if missing else ""
            self.problem(f"{key}.use", f"{error}{hint}")
            return None
        config = self.settings(plugin_class.Config, settings, key)
        if config is None:
            return None
        return Component(key, plugin_class.kind, resolved.use, plugin_class, config, resolved)

    def settings(self, model: type[S], raw: Raw, key: str) -> S | None:
        """Validate the settings in a table and return them. If there are problems, record them and return None."""
        try:
            # Convert the table to JSON before validation, because pydantic's strict mode converts lists to tuples, and
            # strings to paths, only for JSON input.
            # A `LocatedText`, a string with the base folder of its path, loses the folder in JSON. Therefore, pass the
            # folders separately.
            return model.model_validate_json(json.dumps(raw, default=str), strict=True, context=folders_of(raw))
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.problem(*_message(detail, key, model))
        except (RecursionError, ValueError):
            self.problem(key, "nested too deeply, or a number with thousands of digits")
        return None

    def problem(self, key: str, message: str) -> None:
        """Record a mistake in the recipe: the key of the setting, and a message for the user."""
        self.problems.append(Problem(key, message))


def _fits(version: str, required: Requirement) -> bool:
    if not required.specifier:
        return True
    try:
        return required.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _nested_uses(table: Any) -> Iterator[Any]:
    """Yield the value of each `use` in the settings of a plugin's table, in tables and lists of any depth."""
    values = list(table.values()) if isinstance(table, dict) else table if isinstance(table, list) else []
    for value in values:
        if isinstance(value, dict) and "use" in value:
            yield value["use"]
        yield from _nested_uses(value)


def _use(raw: Any, kinds: tuple[Kind, ...]) -> Any:
    """Return the value of `use` in an unvalidated table, or the name of the default plugin if `use` is missing."""
    default = DEFAULT_USE.get(kinds[0])
    if isinstance(raw, dict):
        return raw.get("use", default)
    return default if raw is None else raw


def _message(detail: Any, key: str, model: type[Settings]) -> tuple[str, str]:
    """Convert a pydantic error to the key of the wrong setting and a message for the user."""
    steps = [str(step) for step in detail["loc"]]
    known_model: type[Settings] = Schedule if SCHEDULE in steps else model
    names = [step for step in steps if step not in (NUMBER, SCHEDULE)]
    path, fields = ".".join([key, *names]), known_model.model_fields
    if detail["type"] == "extra_forbidden":
        known = f"there are {', '.join(fields)}" if fields else "it has no settings"
        return path, f"unknown key; {nearest(names[-1], fields)}{known}"
    if detail["type"] == "missing":
        field = fields.get(names[-1])
        meaning = f": {field.description}" if field is not None and field.description else ""
        return path, f"missing; it has no default{meaning}"
    message = detail["msg"].removeprefix("Value error, ")
    return path, f"{_short(detail['input'])} given; {message[0].lower()}{message[1:]}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "something too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
