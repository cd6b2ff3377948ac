"""Run directory: the paths of its files, and methods that read and write them.

Example of a run directory:

runs/igan_vn/2026-11-20T12-00-00/
  recipe.toml  environment.json  init.json  log.jsonl  evaluations.jsonl  rollbacks.json  report.html
  generator.safetensors  best.safetensors
  explanation/{explanation.json,discriminator-real.png,...}  (from `gankit explain`)
  samples/000100.png  samples/000100/  (the folder: a few samples of the grid as files, for data that are not images)
  checkpoints/000100/{generator,discriminator,optimizer,plugins,random}.safetensors + state.json
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, Literal

from gankit.errors import InputError
from gankit.recipe.recipe import Recipe
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_bytes, write_json, write_text
from gankit.storage.lock import Lock

State = Literal["finished", "stopped", "rolled back", "interrupted", "failed", "cut short", "running"]
"""State of a run.

`finished`: all iterations are done. `stopped`: a plugin or `output.patience` ended the run early. `rolled back`: the
run returned to an earlier checkpoint, to continue from there. `interrupted`: a signal ended the run. `failed`: an error
ended the run. `cut short`: the process was killed. `running`: a process is training the run.
"""


class RunDir:
    """Directory of a run, with the paths of all its files. The directory must exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.toml"
        self.environment_file = path / "environment.json"
        self.init_file = path / "init.json"
        self.log_file = path / "log.jsonl"
        self.evaluations_file = path / "evaluations.jsonl"
        self.report_file = path / "report.html"
        self.generator_file = path / "generator.safetensors"
        self.best_file = path / "best.safetensors"
        self.rollbacks_file = path / "rollbacks.json"
        self.samples = path / "samples"
        self.explanation = path / "explanation"
        self.checkpoints = path / "checkpoints"
        self._lock = Lock(path, "run")

    @classmethod
    def create(cls, recipe: Recipe, out: str | Path | None = None) -> RunDir:
        """Create and lock the directory of a new run, and write its recipe and the sources of its plugins.

        If `out` is None, the directory is `NAME/TIME` in the recipe's `output.directory`.

        Raises:
            InputError: `out` is a file or a non-empty folder.
        """
        if out is None:
            path = _unused(recipe.output.directory / recipe.name / time.strftime("%Y-%m-%dT%H-%M-%S"))
        else:
            path = Path(out)
            cls.check_free(path)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        directory = cls(path)
        directory.lock()
        directory.write_recipe(recipe)
        directory.keep_sources(recipe)
        return directory

    @staticmethod
    def check_free(path: Path) -> None:
        """Check that a new run can use a path. Raise InputError if the path is a file or a non-empty folder."""
        if path.is_file():
            raise InputError(f"--out {path}: a file of that name is in the way; name a new or an empty folder")
        if (path / "recipe.toml").exists():
            raise InputError(
                f"--out {path}: the folder holds a run; continue it with `gankit resume {path}`, or name another folder"
            )
        if path.is_dir() and any(path.iterdir()):
            raise InputError(f"--out {path}: the folder is not empty; name a new or an empty folder")

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """Open the directory of an existing run.

        Raises:
            InputError: there is no run at the path.
        """
        path = Path(path)
        if not (path / "recipe.toml").is_file():
            reason = "has no recipe.toml" if path.is_dir() else "does not exist" if not path.exists() else "is a file"
            raise InputError(f"{path} is not a run directory: it {reason}")
        return cls(path)

    def lock(self) -> None:
        """Lock the directory. Raise InputError if another process has locked it."""
        self._lock.acquire()

    def release(self) -> None:
        """Unlock the directory."""
        self._lock.release()

    def is_locked(self) -> bool:
        """Return True if a process has locked the directory. A process locks the directory while it trains the run."""
        return self._lock.is_held()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe, with all default values, to `recipe.toml`."""
        write_text(self.recipe_file, recipe.to_toml())

    def keep_sources(self, recipe: Recipe) -> None:
        """Copy the files of plugins that belong to no installed package to the folder `sources`."""
        for component in recipe.components.values():
            file = Path(component.resolved.origin.rpartition(":")[0])
            copy = self.kept_source(file)
            if not component.resolved.distribution and file.suffix == ".py" and not copy.exists():
                write_bytes(copy, file.read_bytes())

    def kept_source(self, file: Path) -> Path:
        """Return the path of the run's copy of a plugin file. The copy may not exist."""
        return self.path / "sources" / file.name

    def set_results_aside(self) -> Path:
        """Move all results to a new folder `before-N`, so that the run can start again. Return the folder's path."""
        number = 1
        while (aside := self.path / f"before-{number}").exists():
            number += 1
        with disk_errors(self.path):
            aside.mkdir()
            for entry in sorted(self.path.iterdir()):
                if not entry.name.startswith("before-") and entry.name not in ("recipe.toml", "sources", ".lock"):
                    entry.rename(aside / entry.name)
            shutil.copy(self.recipe_file, aside)
        return aside

    def write_environment(self, record: dict[str, Any]) -> None:
        """Write the record of versions, device and plugins to `environment.json`."""
        write_json(self.environment_file, record)

    def write_initial_weights(self, tables: dict[str, dict[str, Any]]) -> None:
        """Record in `init.json` which tensors of each network were copied from a trained network, and which were not.

        If `tables` is empty, do nothing.
        """
        if tables:
            write_json(self.init_file, tables)

    def read_environment(self) -> dict[str, Any]:
        """Return the content of `environment.json`, or an empty dictionary if it cannot be read."""
        try:
            record = json.loads(self.environment_file.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def read_processes(self) -> list[dict[str, Any]]:
        """Return the records in `environment.json`, one for each process that trained the run, oldest first."""
        began = self.read_environment()
        return [{k: v for k, v in began.items() if k != "resumed"}, *began.get("resumed", [])]

    def read_last_environment(self) -> dict[str, Any]:
        """Return the record of the last process that trained the run, with its versions, device and plugins."""
        return self.read_processes()[-1]

    def has_stopped_at(self, iteration: int) -> bool:
        """Return True if `environment.json` records that a plugin stopped the run at the given iteration."""
        ends = [process.get("ended", {}) for process in self.read_processes()]
        return any(end.get("state") == "stopped" and end.get("iteration") == iteration for end in ends)

    def record_ending(self, ended: dict[str, Any]) -> None:
        """Add the end of the run to the record of the last process in `environment.json`."""
        *before, last = self.read_processes()
        began, *resumed = [*before, last | {"ended": ended}]
        self.write_environment(began | ({"resumed": resumed} if resumed else {}))

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to `log.jsonl`."""
        _append(self.log_file, row)

    def log_evaluation(self, row: dict[str, Any]) -> None:
        """Append a row with the metrics from `gankit eval` to `evaluations.jsonl`."""
        _append(self.evaluations_file, row)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the rows of `log.jsonl`. Truncated rows are skipped."""
        return read_rows(self.log_file)

    def find_row(self, key: str, iteration: int) -> dict[str, Any] | None:
        """Return the first row of `log.jsonl` with the given iteration and key, such as `metrics`, or None."""
        return next((row for row in self.read_log() if row["iteration"] == iteration and key in row), None)

    def read_rollbacks(self) -> list[dict[str, Any]]:
        """Return the records in `rollbacks.json`, one for each rollback, oldest first."""
        return json.loads(self.rollbacks_file.read_text()) if self.rollbacks_file.exists() else []

    def discard_after(self, iteration: int) -> None:
        """Delete all checkpoints and sample grids of iterations later than `iteration`, newest first."""
        for checkpoint in reversed(self.saved_checkpoints()):
            if int(checkpoint.name) > iteration:
                _delete_folder(checkpoint)
        for grid in reversed(self.grids()):
            if int(grid.stem) > iteration:
                if (files := self.sample_files(int(grid.stem))).exists():
                    _delete_folder(files)
                grid.unlink()

    def rewind(self, iteration: int) -> None:
        """Prepare to resume from an iteration: remove all later log rows and all temporary files.

        A run resumes from its newest undamaged checkpoint, so all later checkpoints are damaged. The damaged
        checkpoints are renamed to `damaged-ITERATION`, so that `prune` does not count them.
        """
        rows = [row for row in self.read_log() if row["iteration"] <= iteration]
        write_text(self.log_file, "".join(json.dumps(row) + "\n" for row in rows))
        for folder in (self.path, self.samples, self.checkpoints):
            for leftover in folder.glob(f"{TEMPORARY}*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for damaged in self.saved_checkpoints():
            if int(damaged.name) > iteration:
                aside = damaged.with_name(f"damaged-{damaged.name}")
                shutil.rmtree(aside, ignore_errors=True)
                damaged.rename(aside)

    def grid(self, iteration: int) -> Path:
        """Return the path of the sample grid for an iteration. The file may not exist yet."""
        return self.samples / f"{iteration:06d}.png"

    def sample_files(self, iteration: int) -> Path:
        """Return the path of the folder with a few samples of a grid as files, for data that are not images.

        The folder may not exist.
        """
        return self.grid(iteration).with_suffix("")

    def grids(self) -> list[Path]:
        """Return the paths of all saved sample grids, oldest first."""
        numbered = [p for p in self.samples.glob("*.png") if p.stem.isdecimal()]
        return sorted(numbered, key=lambda p: int(p.stem))

    def newest_grid(self) -> Path | None:
        """Return the path of the newest sample grid, or None if there is no sample grid."""
        return next(reversed(self.grids()), None)

    def checkpoint(self, iteration: int) -> Path:
        """Return the path of the checkpoint for an iteration. The folder may not exist yet."""
        return self.checkpoints / f"{iteration:06d}"

    def saved_checkpoints(self) -> list[Path]:
        """Return the paths of all saved checkpoints, oldest first."""
        numbered = [p for p in self.checkpoints.glob("*") if p.name.isdecimal() and p.is_dir()]
        return sorted(numbered, key=lambda p: int(p.name))

    def prune(self, keep: int) -> None:
        """Delete all checkpoints except the newest `keep` checkpoints."""
        for old in self.saved_checkpoints()[:-keep]:
            _delete_folder(old)


def _delete_folder(folder: Path) -> None:
    # Rename the folder before deleting it. If the process is killed during the deletion, the incomplete folder has no
    # valid name.
    doomed = folder.with_name(TEMPORARY + folder.name)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file. Truncated rows are skipped. If there is no file, return an empty list."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    with disk_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _unused(path: Path) -> Path:
    """Return a path that does not exist yet: the given path, or this path with the suffix `-2`, `-3`, ..."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_name(f"{path.name}-{number}")
        number += 1
    return candidate
