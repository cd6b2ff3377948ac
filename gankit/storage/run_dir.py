"""Where everything of a run lies, and how it is found again.

runs/igan_vn/2026-11-20T12-00-00/
  recipe.toml  environment.json  log.jsonl  report.html  generator.safetensors
  samples/000100.png
  checkpoints/000100/{generator,discriminator,optimizer,plugins}.safetensors + state.json
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from pathlib import Path
from typing import Any, Literal

from gankit.errors import InputError
from gankit.recipe.recipe import Recipe
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_bytes, write_json, write_text
from gankit.storage.lock import Lock

State = Literal["finished", "stopped", "interrupted", "failed", "cut short", "running"]
"""State of a run: `stopped` by a plugin, `interrupted` by a signal, `failed` with an error, `cut short` by a kill."""


class RunDir:
    """A run directory that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.toml"
        self.environment_file = path / "environment.json"
        self.log_file = path / "log.jsonl"
        self.evaluations_file = path / "evaluations.jsonl"
        self.report_file = path / "report.html"
        self.generator_file = path / "generator.safetensors"
        self.evaluations_file = path / "evaluations.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self._lock = Lock(path, "run")

    @classmethod
    def create(cls, recipe: Recipe, out: str | Path | None = None) -> RunDir:
        """Makes the directory of a new run: `out` itself, or one named after the recipe and the time.

        Raises InputError when `out` already holds something.
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
        """Raises InputError when a new run cannot have this directory, because something is there."""
        if path.is_file():
            raise InputError(f"--out {path}: a file of that name is in the way")
        if (path / "recipe.toml").exists():
            raise InputError(
                f"--out {path}: a run is there already; `gankit resume {path}` goes on with it, or name another"
            )
        if path.is_dir() and any(path.iterdir()):
            raise InputError(f"--out {path}: the folder is not empty; name one that is, or a new one")

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """An existing run's directory.

        Raises InputError when there is no run.
        """
        path = Path(path)
        if not (path / "recipe.toml").is_file():
            reason = "has no recipe.toml" if path.is_dir() else "does not exist" if not path.exists() else "is a file"
            raise InputError(f"{path} is not a run directory: it {reason}")
        return cls(path)

    def lock(self) -> None:
        """Keeps every other process out until `release`, or until this one ends, however it ends.

        Raises InputError when another process is in.
        """
        self._lock.take()

    def release(self) -> None:
        """Lets other processes in."""
        self._lock.release()

    def is_locked(self) -> bool:
        """Whether a process is at work on the run."""
        try:
            with open(self.path / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_recipe(self, recipe: Recipe) -> None:
        write_text(self.recipe_file, recipe.to_toml())

    def keep_sources(self, recipe: Recipe) -> None:
        """Copies of the files that plugins came from when the run began. For the record: nothing reads them."""
        for part in recipe.components.values():
            file = Path(part.resolved.origin.rpartition(":")[0])
            kept = self.path / "sources" / file.name
            if not part.resolved.distribution and file.suffix == ".py" and not kept.exists():
                write_bytes(kept, file.read_bytes())

    def write_environment(self, record: dict[str, Any]) -> None:
        write_json(self.environment_file, record)

    def read_environment(self) -> dict[str, Any]:
        """What `write_environment` recorded; empty when there is nothing readable."""
        try:
            record = json.loads(self.environment_file.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def read_processes(self) -> list[dict[str, Any]]:
        """What each process that played the run noted of itself: the one that began it, and every resume."""
        began = self.read_environment()
        return [{k: v for k, v in began.items() if k != "resumed"}, *began.get("resumed", [])]

    def read_last_environment(self) -> dict[str, Any]:
        """What the run was last played on: what it began on, or the newest resume."""
        return self.read_processes()[-1]

    def has_stopped_at(self, iteration: int) -> bool:
        """Whether a plugin ended the run there, and it came to its end."""
        ends = [process.get("ended", {}) for process in self.read_processes()]
        return any(end.get("state") == "stopped" and end.get("iteration") == iteration for end in ends)

    def record_ending(self, ended: dict[str, Any]) -> None:
        """How it ended, to what the process that played last noted of itself."""
        *before, last = self.read_processes()
        began, *resumed = [*before, last | {"ended": ended}]
        self.write_environment(began | ({"resumed": resumed} if resumed else {}))

    def log(self, row: dict[str, Any]) -> None:
        with disk_errors(self.log_file), open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def log_evaluation(self, row: dict[str, Any]) -> None:
        """What was measured of the run from outside, beside what it logged itself."""
        with disk_errors(self.evaluations_file), open(self.evaluations_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; one that a kill cut short is left out."""
        return read_rows(self.log_file)

    def has_metrics_at(self, iteration: int) -> bool:
        """Return whether the log has metrics of an iteration."""
        return any(row["iteration"] == iteration and "metrics" in row for row in self.read_log())

    def rewind(self, iteration: int) -> None:
        """Takes back what was written after an iteration that the run goes on from.

        Checkpoints from after it are damaged, or it would go on from them. They are set aside as `damaged-ITERATION`,
        so that they never count among those to keep.
        """
        rows = [row for row in self.read_log() if row["iteration"] <= iteration]
        write_text(self.log_file, "".join(json.dumps(row) + "\n" for row in rows))
        for leftover in [*self.path.glob(f"{TEMPORARY}*"), *self.samples.glob(f"{TEMPORARY}*")]:
            leftover.unlink()
        for leftover in self.checkpoints.glob(f"{TEMPORARY}*"):
            shutil.rmtree(leftover)
        for damaged in self.saved_checkpoints():
            if int(damaged.name) > iteration:
                aside = damaged.with_name(f"damaged-{damaged.name}")
                shutil.rmtree(aside, ignore_errors=True)
                damaged.rename(aside)

    def grid(self, iteration: int) -> Path:
        """Return the path of the grid of samples of an iteration."""
        return self.samples / f"{iteration:06d}.png"

    def grids(self) -> list[Path]:
        """The grids of samples, named after their iterations, oldest first."""
        numbered = [p for p in self.samples.glob("*.png") if p.stem.isdecimal()]
        return sorted(numbered, key=lambda p: int(p.stem))

    def newest_grid(self) -> Path | None:
        return next(reversed(self.grids()), None)

    def checkpoint(self, iteration: int) -> Path:
        return self.checkpoints / f"{iteration:06d}"

    def saved_checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        numbered = [p for p in self.checkpoints.glob("*") if p.name.isdecimal() and p.is_dir()]
        return sorted(numbered, key=lambda p: int(p.name))

    def prune(self, keep: int) -> None:
        for old in self.saved_checkpoints()[:-keep]:
            # Renamed first, so that a kill half-way leaves nothing that looks like a checkpoint.
            doomed = old.with_name(TEMPORARY + old.name)
            old.rename(doomed)
            shutil.rmtree(doomed)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON; one that a kill cut short is left out, and of a missing file there are none."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def _unused(path: Path) -> Path:
    """The path, with a number behind it if it is taken."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_name(f"{path.name}-{number}")
        number += 1
    return candidate
