"""Run that may still be training: its newest contents, and text about its progress."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from gankit.errors import GankitError
from gankit.formatting import duration
from gankit.report.comparison import format_ending
from gankit.report.run_record import RunRecord, read_run
from gankit.storage.run_dir import RunDir

QUIET_SECONDS = 600
"""Age of the newest log row, in seconds, after which a running run counts as quiet."""

PACE_ROWS = 20
"""Number of newest log rows from which the speed is computed."""


class WatchedRun:
    """Contents of a run directory. The directory is read again when its files have changed, and is never written to.

    Args:
        path: run directory.
        now: function that returns the time in seconds since the epoch.

    Raises:
        InputError: there is no run at this path, or its recipe cannot be read.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.directory, self.now = RunDir.open(path), now
        self.version, self.record = fingerprint(self.directory), read_run(path)

    def refresh(self) -> str:
        """Read the run again if its files have changed. Return text about its progress.

        If the run cannot be read, for example because its directory was deleted, keep the last contents and return the
        reason.
        """
        try:
            # Compute the fingerprint first: files that change while they are read then change the next fingerprint.
            version = fingerprint(self.directory)
            if version != self.version:
                self.record, self.version = read_run(self.directory.path), version
        except (GankitError, OSError) as error:
            return " ".join(str(error).split())
        return describe_progress(self.record, self.row_age())

    def row_age(self) -> float:
        """Return the time since the last write to `log.jsonl`, in seconds.

        If no losses are logged yet, return the time since the start of the process, which writes `environment.json`.
        """
        directory = self.directory
        file = directory.log_file if self.record.rows else directory.environment_file
        written = (file if file.exists() else directory.recipe_file).stat().st_mtime
        return max(0.0, self.now() - written)


def fingerprint(directory: RunDir) -> str:
    """Return a short text that changes when the log, the sample grids or the state of a run change."""
    files = (
        directory.recipe_file,
        directory.environment_file,
        directory.log_file,
        directory.evaluations_file,
        directory.samples,  # a new grid changes the modification time of its folder
    )
    facts = [(stat.st_mtime_ns, stat.st_size) for file in files if file.exists() and (stat := file.stat())]
    return hashlib.sha256(repr((facts, directory.is_locked())).encode()).hexdigest()[:16]


def describe_progress(run: RunRecord, age: float) -> str:
    """Return the progress of a run as text. `age` is the result of `WatchedRun.row_age`.

    Examples: `running: iteration 300 of 1,000, 2 min 5 s left, newest row 3 s ago`, or the end of the run.
    """
    if run.ending.state != "running":
        return format_ending(run)
    if not run.rows:
        return f"running: no losses in log.jsonl yet, started {duration(age)} ago"
    if age > QUIET_SECONDS:
        return f"running, but no new row in log.jsonl for {duration(age)}"
    left = seconds_left(run, age)
    facts = [f"iteration {run.rows[-1]['iteration']:,} of {total(run):,}"]
    facts += [f"{duration(left)} left"] if left is not None else []
    return f"running: {', '.join(facts)}, newest row {duration(age)} ago"


def total(run: RunRecord) -> int:
    """Return the number of iterations after which the run ends."""
    return int(run.recipe.get("train", {}).get("iterations", 0))


def seconds_left(run: RunRecord, age: float) -> float | None:
    """Return the expected remaining time of a run, in seconds, from the speed in its newest log rows.

    `age` is the age of the newest row, in seconds. Return None if the log has fewer than two rows of the last process.
    """
    rows = run.rows[-PACE_ROWS:]
    # When a run is resumed, the field `seconds` of the log restarts at 0. Skip this pair of rows.
    pairs = [(a, b) for a, b in pairwise(rows) if b["seconds"] > a["seconds"] and b["iteration"] > a["iteration"]]
    if not pairs:
        return None
    seconds = sum(b["seconds"] - a["seconds"] for a, b in pairs)
    iterations = sum(b["iteration"] - a["iteration"] for a, b in pairs)
    return max(0.0, (total(run) - rows[-1]["iteration"]) * seconds / iterations - age)
