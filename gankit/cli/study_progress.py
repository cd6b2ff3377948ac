"""How a whole study is going, shown while it goes: a live display on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gankit.ablation.results import read_last_rows, seconds_per_iteration
from gankit.ablation.scheduler import StudyReporter
from gankit.ablation.study import Study, StudyRun
from gankit.errors import GankitError
from gankit.formatting import duration, plural

REDRAWS_PER_SECOND = 2
LOOKS_PER_SECOND = 2
"""How often logs are read."""

STDERR = 2
STOPPING = "stopping: each run finishes its iteration and writes a checkpoint; again stops at once"


class StudyProgress(StudyReporter):
    """What both displays know of a study. To be entered before its runs begin and left when they are over.

    Args:
        study: whose runs are shown.
        now: a clock, in seconds.
    """

    def __init__(self, study: Study, now: Callable[[], float] = time.monotonic) -> None:
        self.study, self.now = study, now
        self.totals = {run: run.variant.recipe.train.iterations for run in study.runs}
        self.over = {run for run in study.runs if run.outcome() is not None}
        self.broke_down = sum(run.outcome()["failed"] is not None for run in self.over)  # type: ignore[index]
        self.failures: set[StudyRun] = set()
        # Also of runs that wait: what is played of them need not be played again.
        self.iterations = {
            run: self.totals[run] if run in self.over else _iteration(read_last_rows(run.path / "log.jsonl"))
            for run in study.runs
        }
        self.paces: dict[StudyRun, float | None] = {}
        """Seconds for an iteration of each run that is being played."""

        self.began: dict[StudyRun, float] = {}
        self.running: list[StudyRun] = []
        self.stopping_asked = False
        self._looked = -1.0
        self._start: tuple[float, int] | None = None
        """When the first run was seen, and how many iterations of all runs were played by then."""

    def __enter__(self) -> StudyProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        self.over.add(run)
        self.iterations[run] = outcome["iterations"] or self.iterations[run]
        self.broke_down += outcome["failed"] is not None

    def failed(self, run: StudyRun, error: GankitError) -> None:
        self.failures.add(run)

    def polled(self, running: list[StudyRun]) -> None:
        now, new = self.now(), [run for run in running if run not in self.began]
        self.began |= dict.fromkeys(new, now)
        self.running = running
        if not new and now - self._looked < 1 / LOOKS_PER_SECOND:
            return
        self._looked = now
        for run in running:
            rows = read_last_rows(run.path / "log.jsonl")
            self.iterations[run] = _iteration(rows)
            self.paces[run] = seconds_per_iteration(rows)
        if self._start is None and running:
            self._start = now, self._played()

    def stopping(self) -> None:
        """A signal asks for the end. Called from its handler, where little may be done."""
        self.stopping_asked = True

    def seconds_left(self) -> float | None:
        """For all runs, at the pace of this process so far, with all that processes take to begin and end."""
        left = sum(self._left(run) for run in self.totals)
        if self._start is None or left == 0:
            return None
        (began, before), played = self._start, self._played()
        if played <= before:
            return None
        return (self.now() - began) / (played - before) * left

    def run_seconds_left(self, run: StudyRun) -> float | None:
        pace = self.paces.get(run)
        return None if pace is None else pace * self._left(run)

    def state(self) -> str:
        """`4 of 9 runs over, 2 running, 3 waiting  12 min 3 s left`."""
        waiting = len(self.totals) - len(self.over) - len(self.failures) - len(self.running)
        parts = [f"{len(self.over)} of {plural(len(self.totals), 'run')} over"]
        parts += [f"{self.broke_down} broke down"] if self.broke_down else []
        parts += [f"{len(self.failures)} failed"] if self.failures else []
        parts += [f"{len(self.running)} running", f"{waiting} waiting"]
        left = self.seconds_left()
        return ", ".join(parts) + (f"  {duration(left)} left" if left is not None else "")

    def _played(self) -> int:
        return sum(self.iterations.values())

    def _left(self, run: StudyRun) -> int:
        """Iterations that are still to be played."""
        return 0 if run in self.over or run in self.failures else self.totals[run] - self.iterations[run]


class StudyLines(StudyProgress):
    """A line of plain text whenever a run begins or ends."""

    def polled(self, running: list[StudyRun]) -> None:
        before = set(self.began)
        super().polled(running)
        for run in running:
            if run not in before:
                at = f", from iteration {self.iterations[run]}" if self.iterations[run] else ""
                click.echo(f"{run.name}: goes on{at}" if at else f"{run.name}: begins")

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        super().ended(run, outcome)
        took = f" after {duration(self.now() - self.began[run])}" if run in self.began else ""
        left = self.seconds_left()
        more = f", about {duration(left)} left" if left is not None else ""
        click.echo(f"{run.name}: {how_it_ended(outcome)}{took}; {len(self.over)} of {len(self.totals)} over{more}")

    def failed(self, run: StudyRun, error: GankitError) -> None:
        super().failed(run, error)
        click.echo(f"{run.name}: failed, {error}")

    def stopping(self) -> None:
        super().stopping()
        # Straight to the file: a signal may have come in the middle of a print.
        os.write(STDERR, f"{STOPPING}\n".encode())


class StudyDisplay(StudyProgress):
    """A live display: the whole study, and below it each run that is being played.

    Args:
        study: whose runs are shown.
        console: a terminal.
        now: a clock, in seconds.
    """

    def __init__(self, study: Study, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(study, now)
        self.console = console
        self.live = Live(console=console, get_renderable=self.drawn, refresh_per_second=REDRAWS_PER_SECOND)

    def __enter__(self) -> StudyProgress:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        super().ended(run, outcome)
        if outcome["failed"] is not None or outcome["stop_reason"] is not None:
            self.console.print(Text(f"{run.name}: {how_it_ended(outcome)}"))

    def failed(self, run: StudyRun, error: GankitError) -> None:
        super().failed(run, error)
        self.console.print(Text(f"{run.name}: failed, {error}"))

    def drawn(self) -> RenderableType:
        bars = Table.grid(expand=True, padding=(0, 1))
        bars.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
        bars.add_column(ratio=1)
        bars.add_column(justify="right", no_wrap=True)
        bars.add_column(justify="right", no_wrap=True)
        total = sum(self.totals.values())
        done = total - sum(self._left(run) for run in self.totals)
        bars.add_row(Text(self.study.base.recipe.name, "bold"), ProgressBar(total, done), f"{100 * done // total}%", "")
        # The short line comes last: the "^C" that a terminal echoes must not flow into a new line.
        last = Text(STOPPING if self.stopping_asked else self.state())
        shown = self._fitting(len(last.wrap(self.console, self.console.width)))
        for run in shown:
            left = self.run_seconds_left(run)
            bars.add_row(
                Text(run.name, "cyan"),
                ProgressBar(self.totals[run], self.iterations[run]),
                f"{self.iterations[run]}/{self.totals[run]}",
                f"{duration(left)} left" if left is not None else "",
            )
        more = len(self.running) - len(shown)
        return Group(bars, *([Text(f"... and {more} more")] if more else []), last)

    def _fitting(self, lines: int) -> list[StudyRun]:
        """The runs for which there is room, or rich leaves out what comes last.

        Args:
            lines: that the last line takes.
        """
        # Beside them the whole study's line, and one that stays empty for the cursor.
        room = max(0, self.console.height - 2 - lines)
        return self.running if len(self.running) <= room else self.running[: max(0, room - 1)]


def _iteration(rows: list[dict[str, Any]]) -> int:
    """How far a run is, as far as the newest lines of its log say."""
    return rows[-1]["iteration"] if rows else 0


def how_it_ended(outcome: dict[str, Any]) -> str:
    if outcome["failed"] is not None:
        return f"broke down, {outcome['failed'].partition('. ')[0]}"
    if outcome["stop_reason"] is not None:
        return f"ended at iteration {outcome['iterations']}: {outcome['stop_reason']}"
    return "done"


def study_progress(study: Study, quiet: bool) -> StudyProgress:
    """The live display where there is a terminal that can show it, lines elsewhere and when quiet."""
    console = Console(highlight=False)
    # Asked of the file itself: FORCE_COLOR makes rich take a pipe for a terminal.
    if quiet or not sys.stdout.isatty() or not console.is_interactive:
        return StudyLines(study)
    return StudyDisplay(study, console)
