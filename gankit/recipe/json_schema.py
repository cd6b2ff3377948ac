"""The JSON Schema of recipes, from what is installed, so that an editor completes and checks their keys."""

from __future__ import annotations

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
from gankit.recipe.settings import Evaluation, Output, Train

Schema = dict[str, Any]

EXTRACTOR: tuple[Kind, ...] = ("extractor",)
"""A slot like the others, but that it is empty where nothing is measured."""

FROM_A_FILE = r"^.+:\w+$"
"""`./file.py:Class` or `package.module:Class`, whose settings nobody knows beforehand."""


def recipe_schema(entries: Iterable[Entry]) -> tuple[Schema, list[str]]:
    """The schema of a recipe, and a sentence for each plugin that is left out because it cannot be imported."""
    plugins: dict[Kind, dict[str, type[Plugin]]] = {}
    broken = []
    for entry in entries:
        try:
            kind = cast(Kind, entry.kind or getattr(entry.load(), "kind", "generator"))
            found = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
            plugin_class = as_plugin_class(found, (kind,))
            plugin_class.Config.model_json_schema()
            plugins.setdefault(kind, {})[entry.name] = plugin_class
        except PluginError as error:
            broken.append(str(error))
        except PydanticInvalidForJsonSchema as error:
            broken.append(f"{entry.label} of {entry.distribution}: its settings have no schema: {error.message}")
    models: list[type[Settings]] = [Train, Output, Evaluation]
    models += [plugin_class.Config for of_kind in plugins.values() for plugin_class in of_kind.values()]
    references, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template="#/$defs/{model}"
    )
    shared = definitions["$defs"]

    def settings_of(model: type[Settings]) -> Schema:
        """A model's table, with a copy of its own, to which `use` may be added."""
        return copy.deepcopy(shared[references[model, "validation"]["$ref"].removeprefix("#/$defs/")])

    tables = {
        f"{kind}.{name}": _table(settings_of(plugin_class.Config), name, first_line(plugin_class))
        for kind, of_kind in plugins.items()
        for name, plugin_class in of_kind.items()
    }

    def offered(kind: Kind) -> list[Schema]:
        return [{"$ref": f"#/$defs/{kind}.{name}"} for name in plugins.get(kind, {})]

    def place(kind: Kind) -> Schema:
        """What may stand where one plugin of a kind does."""
        settings = [settings_of(plugin_class.Config)["properties"] for plugin_class in plugins.get(kind, {}).values()]
        return {
            "description": f"the {kind} plugin, by its name or as a table with its settings",
            "anyOf": [
                {"enum": list(plugins.get(kind, {}))},
                {"type": "string", "pattern": _named(plugins.get(kind, {}))},
                {"type": "string", "pattern": FROM_A_FILE},
                *offered(kind),
                # A table without `use` sets something of the plugin that stands there by default or in a base.
                {
                    "type": "object",
                    "properties": {key: {} for keys in settings for key in keys},
                    "additionalProperties": False,
                },
                _FOREIGN,
            ],
        }

    properties: Schema = {
        "name": {
            "type": "string",
            "pattern": r"^\w[\w .+-]{0,99}$",
            "description": "of the run; the file's, if left out",
        },
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "description": "of all randomness"},
        "extends": {"type": "string", "description": "another recipe, relative to this one, beneath this one"},
        "requires": {
            "type": "array",
            "items": {"type": "string"},
            "description": 'distributions that must be installed: "gankit-lecam >= 0.2"',
        },
        "train": settings_of(Train),
        "output": settings_of(Output),
        "evaluation": settings_of(Evaluation),
    }
    for kind in (*SINGLE_SLOTS, *EXTRACTOR):
        properties[kind] = place(kind)
    for kind in PLAYER_SLOTS:
        of_players = {player: place(kind) for player in PLAYERS}
        properties[kind] = {"type": "object", "properties": of_players, "additionalProperties": False}
    for table, kinds in NAMED_TABLES.items():
        one = kinds[0]
        named = {name: f"{kind}.{name}" for kind in kinds for name in plugins.get(kind, {})}
        # `tricks` holds plugins of several kinds. Its definition has the name of the first: `trick`.
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
            "description": f"a plugin of kind {' or '.join(kinds)}, under any name",
            "anyOf": [*({"$ref": f"#/$defs/{label}"} for label in named.values()), _FOREIGN],
        }
    used = _definitions_used(properties, shared | tables)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of gankit",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return schema | ({"$defs": used} if used else {}), broken


_FOREIGN: Schema = {
    "type": "object",
    "description": "a class from a file or a module, with its arguments",
    "properties": {"use": {"type": "string", "pattern": FROM_A_FILE}},
    "required": ["use"],
}


def _named(names: Iterable[str]) -> str:
    """A pattern for one of some names, alone or with the distribution that it is meant of: `hinge@gankit`."""
    return rf"^({'|'.join(map(re.escape, names))})(@[\w.-]+)?$"


def _table(settings: Schema, name: str, says: str) -> Schema:
    """A plugin's table: its settings, and `use`."""
    return {
        "type": "object",
        "description": says,
        "properties": {
            "use": {
                "description": says,
                "anyOf": [{"const": name}, {"type": "string", "pattern": _named([name])}],
            },
            **settings.get("properties", {}),
        },
        "required": ["use", *settings.get("required", [])],
        "additionalProperties": False,
    }


def _definitions_used(schema: Any, definitions: Schema) -> Schema:
    """Those of the definitions that a schema refers to, directly or through others."""
    found: Schema = {}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix("#/$defs/")
                if name not in found:
                    found[name] = definitions[name]
                    waiting.append(definitions[name])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return dict(sorted(found.items()))
