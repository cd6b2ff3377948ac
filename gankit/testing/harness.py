"""Tiny games with the plugins under test in them, and what has become of one."""

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
"""Plugins and their settings, in the order in which they are to act: classes, or the names of installed tricks.
With None for its settings a plugin is there to be named, and not switched on."""

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
"""Three channels, 8x8 pixels, batches of 8, no classes, Adam, cross entropy, batch norm in G."""


@dataclass(frozen=True)
class Given(Entry):
    """A plugin that is at hand, not installed."""

    plugin_class: type[Plugin]

    def load(self) -> type:
        return self.plugin_class


def tiny_recipe(parts: Parts | None = None, changes: Raw | None = None) -> Recipe:
    """A recipe for 4 iterations of a tiny game.

    Args:
        parts: plugins with their settings. A trick is switched on; any other fills its slot, for both players where
            each has one.
        changes: tables to lay over the rest: `{"data": {"classes": 2}}`, `{"train": {"precision": "bf16"}}`. They may
            name whatever is installed.

    Raises RecipeError when it is refused.
    """
    raw = TINY
    for plugin, settings in (parts or {}).items():
        if settings is not None:
            raw = merge(raw, switched_on(plugin, settings))
    return Recipe.from_dict(merge(raw, changes or {}), source="tiny.toml", registry=tiny_registry(parts or {}))


def tiny_registry(parts: Parts) -> Registry:
    """What is installed, and before it the plugins that a test brings and the parts of the tiny game."""
    classes = [c for c in (*parts, *TINY_PLUGINS) if not isinstance(c, str)]
    given = [Given(c.kind, c.name, "", "", f"{c.__module__}:{c.__qualname__}", c) for c in classes]
    names = {(c.name, kind) for c in classes for kind in (c.kind, None)}
    return Registry([*given, *(entry for entry in _installed() if (entry.name, entry.kind) not in names)])


def switched_on(plugin: type[Plugin] | str, settings: Mapping[str, Any]) -> Raw:
    """The change to a recipe that puts a plugin into it."""
    if isinstance(plugin, str):
        return {"tricks": {plugin: dict(settings)}}
    plugin_class = plugin
    kind, table = plugin_class.kind, {"use": plugin_class.name, **settings}
    for place, kinds in NAMED_TABLES.items():
        if kind in kinds:
            return {place: {plugin_class.name: table}}
    # A slot's whole table is replaced, as what filled it had settings of its own.
    return {kind: dict.fromkeys(PLAYERS, table) if kind in PLAYER_SLOTS else table}


@cache
def _installed() -> list[Entry]:
    return Registry.installed().entries


def tiny_run(parts: Parts | None = None, changes: Raw | None = None) -> TrainingRun:
    """`tiny_recipe`, assembled, with its data loaded and its plugins started: ready to play."""
    return started(tiny_recipe(parts, changes))


def started(recipe: Recipe) -> TrainingRun:
    """A game whose first iteration is about to begin."""
    run = assemble(recipe)
    run.load_data()
    run.start()
    return run


def train_iterations(run: TrainingRun, iterations: int = 1) -> TrainingRun:
    """Plays so many iterations, as a run does, and gives the game back.

    Raises GankitError when a loss is no finite number.
    """
    for _ in range(iterations):
        train_iteration(run)
        run.after_iteration(run)
        check_finite(run)
    return run


def state_of(run: TrainingRun) -> dict[str, bytes]:
    """All that a checkpoint would hold, as bytes: two games with the same state go on alike."""
    tensors, plain = capture(run)
    files = {name: tensors_to_bytes(of, {}) for name, of in tensors.items()}
    return files | {"state.json": json.dumps(plain, sort_keys=True).encode()}


def weights_of(run: TrainingRun) -> tuple[bytes, bytes]:
    """The weights of the generator and of the discriminator, as bytes."""
    state = state_of(run)
    return state["generator.safetensors"], state["discriminator.safetensors"]
