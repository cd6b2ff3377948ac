"""Process that trains one run of a study: `python -m gankit.ablation.worker RECIPE SEED RUN`.

It starts or resumes the run and writes outcome.json at the end. When its stdin is closed, it finishes the iteration,
writes a checkpoint and ends. That happens when the study stops its runs, and also when the study's process is killed.
"""

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gankit.errors import GankitError, NonFiniteError
from gankit.recipe.recipe import Recipe
from gankit.report.page import write_report_of
from gankit.storage.atomic_io import write_json
from gankit.storage.provenance import changed_plugins, plugin_record
from gankit.storage.run_dir import RunDir
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter

INTERRUPTED = 130  # exit code of a run that was stopped and has no outcome yet

STDIN = 0
LOCK_POLL_SECONDS = 0.2


def stop_when_stdin_closes() -> None:
    """Wait for the end of stdin, then stop the run with SIGTERM."""
    while os.read(STDIN, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def train_run(recipe_file: Path, seed: int, path: Path) -> dict[str, Any] | None:
    """Train a run to its end and return its outcome, or None if it was interrupted. NaN is an outcome too."""
    directory = RunDir(path)
    # The worker of a killed study may still be writing a checkpoint.
    while directory.is_locked():
        time.sleep(LOCK_POLL_SECONDS)
    recipe = Recipe.load(recipe_file, [f"seed={seed}"])
    if path.exists() and not can_resume(directory, recipe):
        shutil.rmtree(path)
    if path.exists() and (outcome := recorded_outcome(directory)) is not None:
        return outcome
    try:
        if path.exists():
            _, ending = resume(path, [], _PrintingReporter())
        else:
            _, ending = start(recipe, path, _PrintingReporter())
    except NonFiniteError as error:
        return {"iterations": None, "stop_reason": None, "failed": str(error)}
    if ending.interrupted:
        return None
    return {"iterations": ending.iterations, "stop_reason": ending.stop_reason, "failed": None}


class _PrintingReporter(Reporter):
    """Reporter that prints warnings and facts, and writes the report."""

    def informed(self, sentence: str) -> None:
        print(sentence)

    warned = informed

    def concluded(self, directory: RunDir) -> None:
        write_report_of(directory, print)


def can_resume(directory: RunDir, recipe: Recipe) -> bool:
    """Return whether the directory holds a run with the same versions of all plugins.

    After a change of a plugin, the run starts again. A mixture of two versions could not be compared with other runs.
    """
    before = directory.read_last_environment()
    return directory.recipe_file.exists() and not changed_plugins(before, plugin_record(recipe.components))


def recorded_outcome(directory: RunDir) -> dict[str, Any] | None:
    """Return the outcome of a run whose process ended the training, but was killed before it wrote outcome.json.

    Resuming such a run would be wrong if a plugin stopped it.
    """
    ended = directory.read_last_environment().get("ended", {})
    if ended.get("state") not in ("finished", "stopped"):
        return None
    return {"iterations": ended["iteration"], "stop_reason": ended["reason"], "failed": None}


def run_worker(recipe_file: Path, seed: int, path: Path) -> int:
    """Train a run, write its outcome if it has one, and return the exit code of the process."""
    try:
        outcome = train_run(recipe_file, seed, path)
        if outcome is None:
            return INTERRUPTED
        write_json(path / "outcome.json", outcome)
    except GankitError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    threading.Thread(target=stop_when_stdin_closes, daemon=True).start()
    sys.exit(run_worker(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
