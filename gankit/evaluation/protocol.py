"""Protocol of a metric: the facts that affect the metric's value. Compare values only if their protocols are equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gankit.plugin.component import Component

Fact = str | int | float


def protocol_of(row: Mapping[str, Any], name: str) -> dict[str, Fact]:
    """Return the protocol of the metric `name` in a row of log.jsonl: the row's protocol and the metric's settings.

    The settings of other metrics are not included, so that adding a metric to the recipe does not change this protocol.
    """
    return {**row.get("protocol", {}), **row.get("settings", {}).get(name, {})}


def settings_of(component: Component) -> dict[str, Fact]:
    """Return a plugin's settings, with keys of the form `PLUGIN.SETTING`.

    For a plugin from a file or a module, the result also contains the hash of its source code.
    """
    settings = component.config.model_dump(mode="json")
    facts = {key: value if isinstance(value, Fact) else json.dumps(value) for key, value in settings.items()}
    return {f"{component.plugin_class.name}.{key}": fact for key, fact in (facts | source_of(component)).items()}


def source_of(component: Component) -> dict[str, Fact]:
    """Return `{"source": HASH}` for a plugin from a file or a module, and an empty dict for other plugins.

    The hash is needed because the name of a plugin from a file or a module does not identify the plugin's code.
    """
    return {"source": component.resolved.source_digest[:12]} if ":" in component.use else {}
