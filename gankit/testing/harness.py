"""Functions to build and train tiny runs with the plugins under test, and to read the state of a run as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from gankit.plugin.base import Plugin
from gankit.plugin.registry import Entry, Registry
from gankit.plugin.slots import NAMED_TABLES, PLAYER_SLOTS, PLAYERS
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw, merge
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.testing.tiny_plugins import TINY_PLUGINS
from gankit.training.assembly import assemble
from gankit.training.loop import check_finite
from gankit.training.run import TrainingRun
from gankit.training.state import capture
from gankit.training.update import train_iteration

Parts = Mapping[type[Plugin] | str, Mapping[str, Any] | None]
"""Plugins and their settings, in the order of the recipe. A key is a plugin class or the name of an installed trick.

If the settings are None, the plugin is added to the registry but not to the recipe.
"""

TINY: Raw = {
    "name": "tiny",
    "train": {"iterations": 4, "batch_size": 8, "device": "cpu", "keep_freed_memory": False},
    "output": {"log_every": 1, "sample_every": 4, "checkpoint_every": 2, "sample_count": 4},
    "data": {"use": "tiny"},
    "latent": {"use": "tiny"},
    "generator": {"use": "tiny"},
    "discriminator": {"use": "tiny"},
    "loss": {"use": "tiny"},
    "lr_schedule": {"use": "tiny"},
    "normalization": {"generator": {"use": "tiny"}, "discriminator": {"use": "tiny_none"}},
    "optimizer": {"generator": {"use": "tiny"}, "discriminator": {"use": "tiny"}},
}
"""Recipe of the tiny run: 8x8 RGB images without labels, batch size 8, Adam, cross-entropy loss, batch norm in G."""


@dataclass(frozen=True)
class ClassEntry(Entry):
    """Registry entry for a plugin class that is not installed."""

    plugin_class: type[Plugin]

    def load(self) -> type:
        return self.plugin_class


def tiny_recipe(parts: Parts | None = None, changes: Raw | None = None) -> Recipe:
    """Return a recipe of a tiny run with 4 iterations.

    Args:
        parts: plugins with their settings. Tricks and metrics are added to the recipe. Any other plugin replaces the
            tiny plugins of the same kind.
        changes: tables that are merged into the recipe, such as `{"data": {"classes": 2}}` or
            `{"train": {"precision": "bf16"}}`. The tables may select any installed plugin.

    Raises:
        RecipeError: the recipe is invalid.
    """
    raw = TINY
    for plugin, settings in (parts or {}).items():
        if settings is not None:
            raw = merge(raw, recipe_table(plugin, settings))
    return Recipe.from_dict(merge(raw, changes or {}), source="tiny.toml", registry=tiny_registry(parts or {}))


def tiny_registry(parts: Parts) -> Registry:
    """Return a registry of the plugins under test, the tiny plugins and the installed plugins.

    A plugin under test replaces a tiny plugin of the same name. Both replace an installed plugin of the same name.
    """
    classes = [c for c in (*parts, *TINY_PLUGINS) if not isinstance(c, str)]
    entries = [ClassEntry(c.kind, c.name, "", "", f"{c.__module__}:{c.__qualname__}", c) for c in classes]
    names = {(c.name, kind) for c in classes for kind in (c.kind, None)}
    return Registry([*entries, *(entry for entry in _installed() if (entry.name, entry.kind) not in names)])


def recipe_table(plugin: type[Plugin] | str, settings: Mapping[str, Any]) -> Raw:
    """Return a recipe table that selects a plugin with the given settings, for merging into a recipe."""
    if isinstance(plugin, str):
        return {"tricks": {plugin: dict(settings)}}
    kind, table = plugin.kind, {"use": plugin.name, **settings}
    for place, kinds in NAMED_TABLES.items():
        if kind in kinds:
            return {place: {plugin.name: table}}
    # If the table's key `use` replaces a plugin of the recipe, `merge` removes the settings of the replaced plugin.
    return {kind: dict.fromkeys(PLAYERS, table) if kind in PLAYER_SLOTS else table}


@cache
def _installed() -> list[Entry]:
    return Registry.installed().entries


def tiny_run(parts: Parts | None = None, changes: Raw | None = None) -> TrainingRun:
    """Return a tiny run that is ready for its first iteration. The arguments are the same as for `tiny_recipe`."""
    run = assemble(tiny_recipe(parts, changes))
    run.load_data()
    run.start()
    return run


def train_iterations(run: TrainingRun, iterations: int = 1) -> TrainingRun:
    """Train a run for the given number of iterations, without writing files, and return the run.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
    for _ in range(iterations):
        train_iteration(run)
        run.after_iteration(run)
        check_finite(run)
    return run


def state_of(run: TrainingRun) -> dict[str, bytes]:
    """Return the files of a run's checkpoint as bytes, by name. Two runs with equal files continue identically."""
    tensors, values = capture(run)
    files = {name: tensors_to_bytes(content, {}) for name, content in tensors.items()}
    return files | {"state.json": json.dumps(values, sort_keys=True).encode()}


def weights_of(run: TrainingRun) -> tuple[bytes, bytes]:
    """Return the weights of the generator and the weights of the discriminator, as bytes."""
    state = state_of(run)
    return state["generator.safetensors"], state["discriminator.safetensors"]
