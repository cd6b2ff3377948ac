"""Process that trains one run of a study: `python -m gankit.ablation.worker RECIPE SEED RUN`.

The process starts or resumes the run and writes outcome.json at the end. When its stdin is closed, the process finishes
the current iteration, writes a checkpoint and ends. The study closes stdin to stop the run. If the study's process is
killed, the operating system closes stdin, which also stops the run.
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

INTERRUPTED = 130  # exit code of a run that was stopped before it was complete

STDIN = 0
LOCK_POLL_SECONDS = 0.2


def stop_when_stdin_closes() -> None:
    """Wait until stdin is closed, then stop the run by sending SIGTERM to this process."""
    while os.read(STDIN, 1024):
        continue
    signal.raise_signal(signal.SIGTERM)  # on Windows, os.kill would end the process without a checkpoint


def train_run(recipe_file: Path, seed: int, path: Path) -> dict[str, Any] | None:
    """Start or resume a run and return its outcome, or None if the run was interrupted.

    If a loss or a parameter became NaN or infinite, the outcome contains the error message in `failed`.
    """
    directory = RunDir(path)
    # If the study was killed, the earlier process of this run may still be writing a checkpoint. Wait until that
    # process has exited.
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
    """Reporter that prints warnings and messages, and writes the HTML report at the end."""

    def informed(self, sentence: str) -> None:
        # stdout and stderr are written to the same file, and the study reads the error from the last line of this file.
        # Without the flush, this text could be written after the error.
        print(sentence, flush=True)

    warned = informed

    def concluded(self, directory: RunDir) -> None:
        write_report_of(directory, self.informed)


def can_resume(directory: RunDir, recipe: Recipe) -> bool:
    """Return True if the directory contains a run whose plugins have not changed since the run was last trained.

    If a plugin has changed, the run must start again from the beginning. A run that used two versions of a plugin
    could not be compared with other runs.
    """
    before = directory.read_last_environment()
    return directory.recipe_file.exists() and not changed_plugins(before, plugin_record(recipe.components))


def recorded_outcome(directory: RunDir) -> dict[str, Any] | None:
    """Return the outcome of a run from its environment.json, or None if its training has not ended.

    If the process was killed at the end of the training, outcome.json may be missing although the training has ended.
    Such a run must not be resumed, because a plugin may have ended the training early.
    """
    ended = directory.read_last_environment().get("ended", {})
    if ended.get("state") not in ("finished", "stopped"):
        return None
    return {"iterations": ended["iteration"], "stop_reason": ended["reason"], "failed": None}


def run_worker(recipe_file: Path, seed: int, path: Path) -> int:
    """Train a run, write outcome.json if the run has ended, and return the exit code of the process."""
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
    # The study reads the error from the last line of the output. With line buffering, all other text is written before
    # the error.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    threading.Thread(target=stop_when_stdin_closes, daemon=True).start()
    sys.exit(run_worker(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
