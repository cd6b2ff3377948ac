"""One run of a study, in a process of its own: `python -m gankit.ablation.worker RECIPE SEED RUN`.

It begins the run, or goes on with it, and writes outcome.json when it is over. When its stdin is closed, because the
study wants to stop or is dead, it finishes the iteration, writes a checkpoint and ends: so nothing is left running when
a study is killed, on whichever machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import threading
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

INTERRUPTED = 130
STDIN = 0


def stop_when_left_alone() -> None:
    """Waits for the end of stdin, then asks the run to stop, as a signal does."""
    while os.read(STDIN, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def wait_for_others(path: Path) -> None:
    """Until nobody is at work on the run: the process of a study that was killed may be on its way out."""
    if (path / ".lock").exists():
        with open(path / ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


def play(recipe_file: Path, seed: int, path: Path) -> dict[str, Any] | None:
    """Plays a run to its end; returns how it ended, None when it was interrupted.

    Raises GankitError for all but a game that broke down, which is how a run may end.
    """
    wait_for_others(path)
    recipe = Recipe.load(recipe_file, [f"seed={seed}"])
    if path.exists() and not can_go_on(path, recipe):
        shutil.rmtree(path)
    if path.exists() and (ended := end_on_record(path)) is not None:
        return ended
    try:
        if path.exists():
            _, outcome = resume(path, [], _Printer())
        else:
            _, outcome = start(recipe, path, _Printer())
    except NonFiniteError as error:
        return {"iterations": None, "stop_reason": None, "broke_down": str(error)}
    if outcome.interrupted:
        return None
    return {"iterations": outcome.iterations, "stop_reason": outcome.stop_reason, "broke_down": None}


class _Printer(Reporter):
    """Prints what the log file of the run keeps, and writes the report."""

    def warned(self, sentence: str) -> None:
        print(sentence)

    def informed(self, sentence: str) -> None:
        print(sentence)

    def concluded(self, directory: RunDir) -> None:
        write_report_of(directory, print)


def can_go_on(path: Path, recipe: Recipe) -> bool:
    """Whether what is there is the beginning of this very run.

    It is not where a run was killed before there was anything in it, nor after a plugin has been mended: half a run
    with it as it was and half as it is would be a repetition of nothing.
    """
    directory = RunDir(path)
    return directory.recipe_file.exists() and not changed_plugins(
        directory.read_last_environment(), plugin_record(recipe.components)
    )


def end_on_record(path: Path) -> dict[str, Any] | None:
    """How a run ended that was killed before it left its outcome: one that a plugin stopped must not play on."""
    ended = RunDir(path).read_last_environment().get("ended", {})
    if ended.get("state") not in ("finished", "stopped"):
        return None
    return {"iterations": ended["iteration"], "stop_reason": ended["reason"], "broke_down": None}


def run_to_its_end(recipe_file: Path, seed: int, path: Path) -> int:
    """Plays a run, and leaves its outcome when it is over; returns the process's exit code."""
    try:
        ended = play(recipe_file, seed, path)
        if ended is None:
            return INTERRUPTED
        write_json(path / "outcome.json", ended)
    except GankitError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    return 0


def main() -> int:
    recipe_file, seed, path = sys.argv[1:]
    threading.Thread(target=stop_when_left_alone, daemon=True).start()
    return run_to_its_end(Path(recipe_file), int(seed), Path(path))


if __name__ == "__main__":
    sys.exit(main())
