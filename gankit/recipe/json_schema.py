"""JSON Schema for recipes with the installed plugins. Editors use the schema to complete and check recipes."""

import copy
import re
from collections.abc import Iterable
from typing import Any, cast

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import models_json_schema

from gankit.errors import PluginError
from gankit.formatting import first_line
from gankit.plugin.base import Plugin, Settings
from gankit.plugin.registry import Entry, ResolvedPlugin
from gankit.plugin.resolve import as_plugin_class
from gankit.plugin.slots import NAMED_TABLES, PLAYER_SLOTS, PLAYERS, SINGLE_SLOTS, Kind
from gankit.recipe.settings import Evaluation, Init, Output, Train

Schema = dict[str, Any]

FROM_A_FILE = r"^.+:\w+$"
"""Regular expression for a reference to a plugin class: `./file.py:Class` or `package.module:Class`.

The schema cannot check the settings of such a plugin.
"""


def recipe_schema(entries: Iterable[Entry]) -> tuple[Schema, list[str]]:
    """Return the JSON Schema for recipes, and an error message for each plugin that is missing from the schema."""
    plugins: dict[Kind, dict[str, type[Plugin]]] = {}
    broken = []
    for entry in entries:
        try:
            kind = cast(Kind, entry.kind or getattr(entry.load(), "kind", "generator"))
            resolved = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
            plugin_class = as_plugin_class(resolved, (kind,))
            plugin_class.Config.model_json_schema()
            plugins.setdefault(kind, {})[entry.name] = plugin_class
        except PluginError as error:
            broken.append(str(error))
        except PydanticInvalidForJsonSchema as error:
            broken.append(f"{entry.label} of {entry.distribution}: its settings have no schema: {error.message}")
    models: list[type[Settings]] = [Train, Output, Evaluation, Init]
    models += [plugin_class.Config for of_kind in plugins.values() for plugin_class in of_kind.values()]
    references, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template="#/$defs/{model}"
    )
    shared = definitions["$defs"]

    def settings_of(model: type[Settings]) -> Schema:
        """Return a copy of the JSON Schema of a settings class."""
        return _with_bounds(copy.deepcopy(shared[references[model, "validation"]["$ref"].removeprefix("#/$defs/")]))

    tables = {
        f"{kind}.{name}": _table(settings_of(plugin_class.Config), name, first_line(plugin_class))
        for kind, of_kind in plugins.items()
        for name, plugin_class in of_kind.items()
    }

    def place(kind: Kind) -> Schema:
        """Return the JSON Schema of a recipe table that contains one plugin of the given kind."""
        of_kind = plugins.get(kind, {})
        keys: Schema = {key: {} for plugin in of_kind.values() for key in settings_of(plugin.Config)["properties"]}
        return {
            "description": f"{kind} plugin: its name, or a table with its settings",
            "anyOf": [
                {"enum": list(of_kind)},
                {"type": "string", "pattern": _named(of_kind)},
                {"type": "string", "pattern": FROM_A_FILE},
                *({"$ref": f"#/$defs/{kind}.{name}"} for name in of_kind),
                # A table without `use` contains settings of the default plugin. If the recipe extends another recipe,
                # the settings belong to the plugin of the other recipe.
                {"type": "object", "properties": keys, "additionalProperties": False},
                _FOREIGN,
            ],
        }

    properties: Schema = {
        "name": {
            "type": "string",
            "pattern": r"^\w[\w .+-]{0,99}$",
            "description": "name of the run; default: the name of the file",
        },
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "description": "seed of all random numbers"},
        "extends": {
            "type": "string",
            "description": "extended recipe: a path relative to this file, or a name from `gankit recipes`",
        },
        "drop": {
            "type": "array",
            "items": {"type": "string"},
            "description": 'keys of the extended recipe that this one removes, such as "tricks.r1"',
        },
        "order": {
            "type": "array",
            "items": {"type": "string"},
            "description": "names of all tricks, in the order in which they are called",
        },
        "requires": {
            "type": "array",
            "items": {"type": "string"},
            "description": 'distributions that must be installed, such as "gankit-lecam >= 0.2"',
        },
        "train": settings_of(Train),
        "output": settings_of(Output),
        "evaluation": settings_of(Evaluation),
        "init": settings_of(Init),
    }
    single: tuple[Kind, ...] = (*SINGLE_SLOTS, "extractor")
    for kind in single:
        properties[kind] = place(kind)
    for kind in PLAYER_SLOTS:
        players = {player: place(kind) for player in PLAYERS}
        properties[kind] = {"type": "object", "properties": players, "additionalProperties": False}
    for table, kinds in NAMED_TABLES.items():
        one = kinds[0]
        named = {name: f"{kind}.{name}" for kind in kinds for name in plugins.get(kind, {})}
        # The table `tricks` accepts several kinds of plugin. Its schema definition is named after the first kind.
        properties[table] = {
            "type": "object",
            "description": f"any number of {table}, in the order in which they act",
            "properties": {
                name: {"anyOf": [{**tables[label], "required": []}, {"$ref": f"#/$defs/{one}"}]}
                for name, label in named.items()
            },
            "additionalProperties": {"$ref": f"#/$defs/{one}"},
        }
        tables[one] = {
            "description": f"plugin of kind {' or '.join(kinds)}, under any name",
            "anyOf": [*({"$ref": f"#/$defs/{label}"} for label in named.values()), _FOREIGN],
        }
    used = _definitions_used(properties, shared | tables)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of gankit",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return schema | ({"$defs": used} if used else {}), broken


_FOREIGN: Schema = {
    "type": "object",
    "description": "class from a file or a module, with its arguments",
    "properties": {"use": {"type": "string", "pattern": FROM_A_FILE}},
    "required": ["use"],
}


BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""JSON Schema keyword for each bound in pydantic, such as `ge`."""


def _with_bounds(settings: Schema) -> Schema:
    """Return a copy of a schema, with JSON Schema keywords for the bounds of settings that can be schedules.

    Pydantic does not convert the bounds of such settings, because their type `Scheduled` is a union.
    """
    properties = {
        name: {BOUNDS.get(key, key) if "oneOf" in field else key: value for key, value in field.items()}
        for name, field in settings.get("properties", {}).items()
    }
    return settings | ({"properties": properties} if properties else {})


def _named(names: Iterable[str]) -> str:
    """Return a regular expression for the given plugin names, with or without a distribution (`hinge@gankit`)."""
    return rf"^({'|'.join(map(re.escape, names))})(@[\w.-]+)?$"


def _table(settings: Schema, name: str, description: str) -> Schema:
    """Return the JSON Schema of the table of one plugin: `use` and the plugin's settings."""
    return {
        "type": "object",
        "description": description,
        "properties": {
            "use": {
                "description": description,
                "anyOf": [{"const": name}, {"type": "string", "pattern": _named([name])}],
            },
            **settings.get("properties", {}),
        },
        "required": ["use", *settings.get("required", [])],
        "additionalProperties": False,
    }


def _definitions_used(schema: Any, definitions: Schema) -> Schema:
    """Return the entries of `definitions` that a schema references, directly or indirectly."""
    used: Schema = {}
    queue = [schema]
    while queue:
        part = queue.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix("#/$defs/")
                if name not in used:
                    used[name] = definitions[name]
                    queue.append(definitions[name])
            queue += part.values()
        elif isinstance(part, list):
            queue += part
    return dict(sorted(used.items()))
