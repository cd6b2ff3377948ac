"""Record of a run's plugins: their versions and the hashes of their source code."""

from collections.abc import Mapping
from typing import Any

from gankit.plugin.component import Component


def plugin_record(components: Mapping[str, Component]) -> dict[str, dict[str, str]]:
    """Return a record of each plugin, by its key in the recipe.

    The record contains the plugin's Python class, distribution, version and hash of the source code.
    """
    return {
        key: {
            "use": component.use,
            "distribution": component.resolved.distribution,
            "version": component.resolved.version,
            "origin": component.resolved.origin,
            "sha256": component.resolved.source_digest,
        }
        for key, component in components.items()
    }


def changed_plugins(before: dict[str, Any], now: dict[str, dict[str, str]]) -> list[str]:
    """Return a message for each plugin whose version or source code differs between the records `before` and `now`."""
    sentences = []
    for key, was in before.get("plugins", {}).items():
        if (current := now.get(key)) is None:
            continue
        if _described(was) != _described(current):
            sentences.append(
                f"{key}: the run was last trained with {_described(was)}; {_described(current)} is used now"
            )
        elif was.get("sha256") != current["sha256"]:
            sentences.append(f"{key}: the source of {_described(current)} has changed since the run was last trained")
    return sentences


def _described(record: dict[str, str]) -> str:
    """Return the name, package and version of a plugin as text, such as `hinge of gankit 0.1.0`.

    If the plugin belongs to no installed package, return the location of its class, such as `/home/me/t.py:MyTrick`.
    """
    if not record.get("distribution"):
        return record.get("origin", "")
    return f"{record.get('use')} of {record['distribution']} {record.get('version')}"
