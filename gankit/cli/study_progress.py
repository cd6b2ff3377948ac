"""Progress display of an ablation study or a search: live bars on a terminal, plain lines of text otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import click
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from gankit.ablation.results import read_last_rows, seconds_per_iteration
from gankit.ablation.scheduler import StudyReporter
from gankit.ablation.study import StudyRun
from gankit.cli.live_bars import LiveBars, live_console, write_from_signal_handler
from gankit.errors import GankitError
from gankit.formatting import duration, plural

READ_EVERY = 0.5  # minimum time, in seconds, between two reads of the log files

STOPPING = "stopping: each run finishes its iteration and writes a checkpoint; a second Ctrl-C stops at once"


class TrainedStudy(Protocol):
    """Interface of an ablation study or a search whose progress is displayed."""

    @property
    def name(self) -> str:
        """Name of the study, shown at the bar of the whole study."""

    @property
    def runs(self) -> Sequence[StudyRun]:
        """All runs of the study, also those that have not started."""


class StudyProgress(StudyReporter):
    """Base class of the live and the plain progress display of an ablation study or a search.

    Call `run_plan` inside the `with` block. `now` is a function that returns the time in seconds.
    """

    def __init__(self, study: TrainedStudy, now: Callable[[], float] = time.monotonic) -> None:
        self.study, self.now = study, now
        self.totals = {run: run.variant.recipe.train.iterations for run in study.runs}
        outcomes = {run: outcome for run in study.runs if (outcome := run.outcome()) is not None}
        self.done = set(outcomes)
        self.failed_runs = sum(outcome["failed"] is not None for outcome in outcomes.values())
        self.failures: set[StudyRun] = set()
        # If the study is resumed, count the iterations that its unfinished runs have already completed.
        self.iterations = {
            run: self.totals[run] if run in self.done else _iteration(read_last_rows(run.path / "log.jsonl"))
            for run in study.runs
        }
        self.paces: dict[StudyRun, float | None] = {}  # seconds per iteration of each run, or None if not yet known
        self.started_at: dict[StudyRun, float] = {}
        self.running: list[StudyRun] = []
        self._read_at = -READ_EVERY
        # Time at which the first run started, and the total number of iterations that all runs had completed at that
        # time.
        self._start: tuple[float, int] | None = None

        # Time at which the total number of iterations last changed, and this number.
        self._newest = (0.0, -1)

    def __enter__(self) -> StudyProgress:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        self.done.add(run)
        self.iterations[run] = outcome["iterations"] or self.iterations[run]
        self.failed_runs += outcome["failed"] is not None
        self._note_progress()

    def failed(self, run: StudyRun, error: GankitError) -> None:
        self.failures.add(run)

    def polled(self, running: list[StudyRun]) -> None:
        now, new = self.now(), [run for run in running if run not in self.started_at]
        self.started_at |= dict.fromkeys(new, now)
        self.running = running
        if not new and now - self._read_at < READ_EVERY:
            return
        self._read_at = now
        for run in running:
            rows = read_last_rows(run.path / "log.jsonl")
            self.iterations[run] = _iteration(rows)
            self.paces[run] = seconds_per_iteration(rows)
        if self._start is None and running:
            self._start = now, self._trained()
        self._note_progress()

    def seconds_left(self) -> float | None:
        """Return the estimated time in seconds until all runs end, or None if no estimate is possible.

        The estimate uses the average speed until the newest known iteration. This speed includes the time to start and
        end processes. Afterwards, the estimate falls with the time.
        """
        left = sum(self._left(run) for run in self.totals)
        if self._start is None or left == 0:
            return None
        (start, before), (newest, trained) = self._start, self._newest
        if trained <= before:
            return None
        return max(0.0, (newest - start) / (trained - before) * left - (self.now() - newest))

    def run_seconds_left(self, run: StudyRun) -> float | None:
        """Return the estimated time in seconds until a run ends, or None if the speed of the run is not known yet."""
        pace = self.paces.get(run)
        return None if pace is None else pace * self._left(run)

    def state(self) -> str:
        """Return the state of the study as text: `4 of 9 runs done, 2 running, 3 waiting  12 min 3 s left`."""
        waiting = len(self.totals) - len(self.done) - len(self.failures) - len(self.running)
        parts = [f"{len(self.done)} of {plural(len(self.totals), 'run')} done"]
        parts += [f"{self.failed_runs} failed"] if self.failed_runs else []
        parts += [f"{len(self.failures)} failed"] if self.failures else []
        parts += [f"{len(self.running)} running", f"{waiting} waiting"]
        left = self.seconds_left()
        return ", ".join(parts) + (f"  {duration(left)} left" if left is not None else "")

    def _note_progress(self) -> None:
        if (trained := self._trained()) != self._newest[1]:
            self._newest = self.now(), trained

    def _trained(self) -> int:
        return sum(self.iterations.values())

    def _left(self, run: StudyRun) -> int:
        return 0 if run in self.done or run in self.failures else self.totals[run] - self.iterations[run]


class PlainStudyProgress(StudyProgress):
    """Plain display: one line of text whenever a run starts or ends."""

    def polled(self, running: list[StudyRun]) -> None:
        before = set(self.started_at)
        super().polled(running)
        for run in running:
            if run not in before:
                at = self.iterations[run]
                click.echo(f"{run.name}: resumes from iteration {at}" if at else f"{run.name}: starts")

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        super().ended(run, outcome)
        took = f" after {duration(self.now() - self.started_at[run])}" if run in self.started_at else ""
        left = self.seconds_left()
        more = f", about {duration(left)} left" if left is not None else ""
        click.echo(f"{run.name}: {format_outcome(outcome)}{took}; {len(self.done)} of {len(self.totals)} done{more}")

    def failed(self, run: StudyRun, error: GankitError) -> None:
        super().failed(run, error)
        click.echo(f"{run.name}: failed, {error}")

    def stopping(self) -> None:
        write_from_signal_handler(STOPPING)


class LiveStudyProgress(StudyProgress):
    """Live display: a progress bar for the whole study, followed by a bar for each run that is training."""

    def __init__(self, study: TrainedStudy, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(study, now)
        self.console = console
        self.bars = LiveBars(console, self.update)
        self.stop_requested = False
        name = f"[bold]{escape(study.name)}"
        self.task = self.bars.add_task(name, total=sum(self.totals.values()), count="", left="")
        # Add the bars of all runs here. `update` must not add bars, because it is called during a redraw, and each new
        # bar starts another redraw.
        self.tasks = {
            run: self.bars.add_task(f"[cyan]{escape(run.name)}", total=total, visible=False, count="", left="")
            for run, total in self.totals.items()
        }

    def __enter__(self) -> StudyProgress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        super().ended(run, outcome)
        if outcome["failed"] is not None or outcome["stop_reason"] is not None:
            self.console.print(Text(f"{run.name}: {format_outcome(outcome)}"))

    def failed(self, run: StudyRun, error: GankitError) -> None:
        super().failed(run, error)
        self.console.print(Text(f"{run.name}: failed, {error}"))

    def stopping(self) -> None:
        self.stop_requested = True

    def update(self) -> Sequence[RenderableType]:
        """Update the progress bars, and return the lines of text below the bars."""
        total, running = sum(self.totals.values()), self.running
        done = total - sum(self._left(run) for run in self.totals)
        self.bars.update(self.task, completed=done, count=f"{100 * done // total}%")
        # After Ctrl-C, the terminal prints "^C" at the end of the last line. Therefore, the last line is a short text
        # and not a progress bar, which has no free space at its end.
        last = Text(STOPPING if self.stop_requested else self.state())
        # rich crops a display that has more lines than the terminal, so a small terminal shows only some runs.
        # Reserve one line for the bar of the whole study, and one for the cursor.
        room = max(0, self.console.height - 2 - len(last.wrap(self.console, self.console.width)))
        shown = running if len(running) <= room else running[: max(0, room - 1)]
        for run, task in self.tasks.items():
            left, iteration = self.run_seconds_left(run), self.iterations[run]
            self.bars.update(
                task,
                completed=iteration,
                visible=run in shown,
                count=f"{iteration}/{self.totals[run]}",
                left="" if left is None else f"{duration(left)} left",
            )
        more = len(running) - len(shown)
        return [*([Text(f"... and {more} more")] if more else []), last]


def _iteration(rows: list[dict[str, Any]]) -> int:
    """Return the iteration of the last row, or 0 if there are no rows. `rows` are rows of log.jsonl."""
    return rows[-1]["iteration"] if rows else 0


def format_outcome(outcome: dict[str, Any]) -> str:
    """Return the outcome of a run as text: `done`, `failed, REASON` or `ended at iteration 60: REASON`."""
    if outcome["failed"] is not None:
        return f"failed, {outcome['failed'].partition('. ')[0]}"
    if outcome["stop_reason"] is not None:
        return f"ended at iteration {outcome['iterations']}: {outcome['stop_reason']}"
    return "done"


def study_progress(study: TrainedStudy, quiet: bool) -> StudyProgress:
    """Return the progress display of an ablation study or a search.

    The display is live if `quiet` is false and stdout is a terminal that supports live displays. Otherwise, it is plain
    text.
    """
    console = live_console(quiet)
    return PlainStudyProgress(study) if console is None else LiveStudyProgress(study, console)
