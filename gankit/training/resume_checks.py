"""Checks of a run's results, settings, data and plugin files before the run is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gankit.data.record import DataRecord, changed_data, other_data
from gankit.errors import InputError, RecipeError
from gankit.recipe.diff import flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw
from gankit.storage.run_dir import RunDir

RESUMABLE = ("train.iterations", "train.device", "train.rollback", "output.")
"""Keys, or prefixes of keys, of the settings that a resumed run may change. Paths may change too."""


def is_path(key: str, value: Any) -> bool:
    """Return True if the value of a setting is a path, which may differ between machines."""
    return isinstance(value, str) and (os.sep in value or key.endswith(".path"))


def fixed_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that must be equal on all ranks and in a resumed run, by key, such as `train.batch_size`.

    Paths are left out. For a plugin from a file, only the name of its Python class is kept.
    """
    settings = {
        key: value.rpartition(":")[2] if key.endswith(".use") else value
        for key, value in flattened(recipe.to_dict()).items()
        if not key.startswith(RESUMABLE) and (key.endswith(".use") or not is_path(key, value))
    }
    # A checkpoint stores the settings as JSON, which has no tuples. Convert tuples to lists, to make both comparable.
    return json.loads(json.dumps(settings))


def check_overrides(overrides: Raw, recipe: Raw, source: Path) -> None:
    """Check that overrides change only settings that a resumed run may change.

    Args:
        overrides: changed settings, as nested tables.
        recipe: recipe of the run, as nested tables.
        source: path of the run's recipe.

    Raises:
        InputError: an override changes another setting.
    """
    settings = flattened(recipe)
    for key in flattened(overrides):
        if not key.startswith(RESUMABLE) and not is_path(key, settings.get(key)):
            raise InputError(
                f"{key}: a resumed run keeps its recipe; only train.iterations, train.device, train.rollbacks, "
                "train.rollback_factor, output.* and the paths of moved files may change. To train with other "
                f"settings, start a new run: {_new_run(source, key)}"
            )


def check_settings(recorded: dict[str, Any], recipe: Recipe, source: Path) -> None:
    """Compare the settings in a resumed run's recipe with `recorded`, the settings in its checkpoint.

    Settings that a resumed run may change are ignored.

    Raises:
        InputError: another setting in `recipe.toml` has changed since the checkpoint was written.
    """
    now = fixed_settings(recipe)
    for key in sorted(recorded.keys() | now.keys()):
        before, after = (settings.get(key) for settings in (recorded, now))
        if before != after:
            raise InputError(
                f"{source}: {key}: it is {_shown(after)}, and was {_shown(before)} when the checkpoint was written; a "
                "resumed run keeps its recipe. Restore the setting, or start a new run with the changed recipe: "
                f"{_new_run(source)}"
            )


def check_data(recorded: DataRecord, now: DataRecord, source: Path, allow_changed: bool) -> str | None:
    """Compare the data of a resumed run with the record in its checkpoint. Return a message if the data have changed.

    Raises:
        InputError: the shape or the classes of the data differ, or the data have changed and `allow_changed` is False.
    """
    if other := other_data(recorded, now):
        raise InputError(
            f"{source}: data: these are not the data of the run: {', '.join(other)}; restore the data, or name their "
            f"new place with data.path=PATH. To train on other data, start a new run: {_new_run(source)}"
        )
    changed = ", ".join(changed_data(recorded, now))
    if changed and not allow_changed:
        raise InputError(
            f"{source}: data: they have changed since the checkpoint was written: {changed}; restore them, or resume "
            "with --allow-changed-data. The result then differs from that of an uninterrupted run"
        )
    return f"data: they have changed since the checkpoint was written: {changed}" if changed else None


def check_no_results(directory: RunDir, damaged: list[str], checkpoint_every: int) -> None:
    """Check that a run without an undamaged checkpoint has no results that a new start would overwrite.

    A run that was killed before its first checkpoint may start again.

    Raises:
        InputError: the run has results, but its checkpoints are lost or damaged.
    """
    trained = max((row["iteration"] for row in directory.read_log()), default=0)
    if damaged or directory.generator_file.exists() or trained > checkpoint_every:
        reason = "; ".join(damaged) if damaged else f"{directory.checkpoints} has no checkpoint"
        raise InputError(
            f"{directory.path}: no checkpoint can be resumed, and the run has results ({reason}); restore a "
            "checkpoint, or start again with --restart, which moves the results to a folder before-N"
        )


@contextmanager
def hint_at_moved_data(directory: RunDir) -> Iterator[None]:
    """Run the `with` block. If the data are missing, add to the error the command that sets their new path."""
    try:
        yield
    except RecipeError as error:
        if not any(problem.key == "data" and "does not exist" in problem.message for problem in error.problems):
            raise
        raise InputError(
            f"{error}; if the data were moved, name their new place: `gankit resume {directory.path} data.path=PATH`"
        ) from error


def find_moved_plugins(recipe: Raw, directory: RunDir) -> list[str]:
    """Replace the path of each missing plugin file by the path of the run's copy of this file, in place.

    Returns:
        A message for each replaced path.
    """
    messages = []
    for key, value in flattened(recipe).items():
        location, _, class_name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        copy = directory.kept_source(Path(location))
        if not location.endswith(".py") or Path(location).exists() or not copy.exists():
            continue
        replace_setting(recipe, key, f"{copy.absolute()}:{class_name}")
        messages.append(f"{key}: {location} does not exist; using the run's copy {copy} ({key}=FILE.py:{class_name})")
    return messages


def replace_setting(recipe: Raw, key: str, value: Any) -> None:
    """Set the value at a key of a recipe, such as `train.device`, in place.

    If the value is the name of a plugin, the other settings in the plugin's table are kept. An override would remove
    these settings.
    """
    *tables, name = key.split(".")
    table = recipe
    for part in tables:
        table = table.setdefault(part, {})
    table[name] = value


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)


def _new_run(source: Path, key: str | None = None) -> str:
    return f"`gankit run {source}{f' {key}=VALUE' if key else ''} --out NEW`"
