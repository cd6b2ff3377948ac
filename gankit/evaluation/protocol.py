"""How a number was taken: the facts beside it. Numbers compare only where these are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gankit.plugin.component import Component

Fact = str | int | float


def protocol_of(row: Mapping[str, Any], name: str) -> dict[str, Fact]:
    """Of one number of a row of log.jsonl: the facts of the whole row, and the settings of the measure it came from.

    Those of other measures are left out, so that one measure more makes the others' numbers no less comparable.
    """
    return {**row.get("protocol", {}), **row.get("settings", {}).get(name, {})}


def settings_of(part: Component) -> dict[str, Fact]:
    """A plugin's settings, with its name before them, and a hash of its file if it is not installed under a name."""
    settings = part.config.model_dump(mode="json")
    facts = {key: value if isinstance(value, Fact) else json.dumps(value) for key, value in settings.items()}
    return {f"{part.plugin_class.name}.{key}": fact for key, fact in (facts | source_of(part)).items()}


def source_of(part: Component) -> dict[str, Fact]:
    """`{"source": ...}` for a class from a file or a module: its name does not say what is in it."""
    return {"source": part.resolved.source_digest[:12]} if ":" in part.use else {}
