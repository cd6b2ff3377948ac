"""How a run is going, shown while it goes: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gankit.cli.status_line import Waiting
from gankit.cli.words import describe_images, describe_parameters
from gankit.formatting import duration, number
from gankit.plugin.slots import PLAYERS, Player
from gankit.report.page import write_report_of
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import TrainingRun

REDRAWS_PER_SECOND = 4
STDERR = 2
STOPPING = "stopping after this iteration, with a checkpoint; again stops at once"


class Pace:
    """How fast it goes, judged by the last half minute: early iterations are slow, and so are resumed ones.

    Args:
        now: a clock, in seconds.
    """

    WINDOW = 30.0
    SPACING = 0.5

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.marks: deque[tuple[float, int, int]] = deque()

    def mark(self, iterations: int, images: int) -> None:
        """So many are done by now. Called every iteration, so most calls only move the newest mark."""
        marks, now = self.marks, self.now()
        if len(marks) > 1 and now - marks[-2][0] < self.SPACING:
            marks[-1] = (now, iterations, images)
        else:
            marks.append((now, iterations, images))
        while len(marks) > 2 and now - marks[1][0] > self.WINDOW:
            marks.popleft()

    def images_per_second(self) -> float | None:
        """None until something is known."""
        (began, _, before), (ended, _, after) = self.marks[0], self.marks[-1]
        return (after - before) / (ended - began) if ended > began else None

    def seconds_left(self, iterations: int) -> float | None:
        """Until so many more than at the last mark are done; None until something is known."""
        (began, before, _), (ended, after, _) = self.marks[0], self.marks[-1]
        if after == before:
            return None
        expected = iterations * (ended - began) / (after - before)
        return max(0.0, expected - (self.now() - ended))


class Progress(Reporter):
    """What both displays know of a run. To be entered before it begins and left when it is over.

    Args:
        waiting: the line that says what is waited for until then.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self.waiting = waiting or Waiting(quiet=True)
        self.directory: RunDir | None = None
        self.pace = Pace()
        self.iteration = self.total = 0
        self.stopping_asked = False
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def informed(self, sentence: str) -> None:
        """Something to know before it begins, or after it is over."""
        self.waiting.over()
        click.echo(sentence)

    def preparing(self, stage: str) -> None:
        self.waiting.on(stage)

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        self.waiting.over()
        self.directory = directory
        self.name, self.total = run.recipe.name, run.recipe.train.iterations
        self.batch_size = run.recipe.train.batch_size
        self.rates = {player: run.learning_rate(player) for player in PLAYERS}
        self.losses: dict[Player, dict[str, float]] = {player: {} for player in PLAYERS}
        self._mark(run)
        at = f", from iteration {run.iteration}" if run.iteration else ""
        click.echo(f"{self.name}: {describe_images(run)}")
        click.echo(
            f"generator {describe_parameters(run.generator)}, "
            f"discriminator {describe_parameters(run.discriminator)}, on {run.device}"
        )
        click.echo(f"into {directory.path}{at}")

    def trained(self, run: TrainingRun) -> None:
        self._mark(run)

    def logged(self, row: dict[str, Any]) -> None:
        self.rates, self.losses = row["learning_rate"], row["loss"]

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        self.metrics = metrics

    def warned(self, sentence: str) -> None:
        self.waiting.over()
        click.echo(f"warning: {sentence}")

    def stopping(self) -> None:
        """A signal asks for the end. Called from its handler, where little may be done."""
        self.stopping_asked = True

    def concluded(self, directory: RunDir) -> None:
        write_report_of(directory, self.informed)

    def speed_and_time_left(self) -> str:
        rate, left = self.pace.images_per_second(), self.pace.seconds_left(self.total - self.iteration)
        known = [f"{rate:.0f} images/s"] if rate is not None else []
        return "  ".join(known + ([f"{duration(left)} left"] if left is not None else []))

    def _mark(self, run: TrainingRun) -> None:
        self.iteration = run.iteration
        self.pace.mark(run.iteration, run.step_counts["discriminator"] * self.batch_size)


class Lines(Progress):
    """A line of plain text for each entry of log.jsonl."""

    def logged(self, row: dict[str, Any]) -> None:
        super().logged(row)
        parts = [f"{row['iteration']}/{self.total}"]
        for player in PLAYERS:
            values = [f"{name} {number(value)}" for name, value in self.losses[player].items()]
            parts.append(" ".join([f"{player}:", f"lr {self.rates[player]:.3g}", *values]))
        click.echo("  ".join([*parts, self.speed_and_time_left()]))

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        super().evaluated(iteration, metrics, seconds)
        values = " ".join(f"{name} {number(value)}" for name, value in metrics.items())
        cost = f"  (took {duration(seconds)})" if seconds else ""
        click.echo(f"{iteration}/{self.total}  metrics: {values}{cost}")

    def stopping(self) -> None:
        super().stopping()
        # Straight to the file: a signal may have come in the middle of a print.
        os.write(STDERR, f"{STOPPING}\n".encode())


class Display(Progress):
    """A live display, redrawn by a thread of its own, so that the loop waits for no terminal.

    Args:
        console: a terminal.
        waiting: as for `Progress`.
    """

    def __init__(self, console: Console, waiting: Waiting | None = None) -> None:
        super().__init__(waiting)
        self.live = Live(console=console, get_renderable=self.drawn, refresh_per_second=REDRAWS_PER_SECOND)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        super().started(run, directory)
        self.live.start()

    def warned(self, sentence: str) -> None:
        # Above the display, which click's echo would be drawn over by.
        self.live.console.print(Text(f"warning: {sentence}"))

    def ended(self, outcome: Outcome) -> None:
        self.live.stop()

    def drawn(self) -> RenderableType:
        if not self.pace.marks:
            return ""
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column()
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        percent = 100 * self.iteration // self.total
        bar.add_row(
            Text(self.name, "bold", no_wrap=True, overflow="ellipsis"),
            ProgressBar(self.total, self.iteration, width=None),
            Text(f"{percent}%"),
        )
        state = f"iteration {self.iteration}/{self.total}  {self.speed_and_time_left()}"
        players = Table.grid(padding=(0, 2))
        for player in PLAYERS:
            players.add_row(Text(player, "cyan"), self._values(player))
        if self.metrics:
            players.add_row(Text("metrics", "cyan"), _values(self.metrics))
        # The short line comes last: the "^C" that a terminal echoes must not flow into a new line.
        return Group(bar, players, Text(STOPPING if self.stopping_asked else state))

    def _values(self, player: Player) -> Text:
        rate = Text.assemble(("lr ", "dim"), f"{self.rates[player]:.3g}")
        return Text("   ").join([rate, _values(self.losses[player])]) if self.losses[player] else rate


def _values(values: dict[str, float]) -> Text:
    """Names and values. No break between a name and its value; the pairs flow."""
    return Text("   ").join(Text.assemble((f"{name}\u00a0", "dim"), number(value)) for name, value in values.items())


def progress(quiet: bool, waiting: Waiting | None = None) -> Progress:
    """The live display where there is a terminal that can show it, lines elsewhere and when quiet."""
    console = Console(highlight=False)
    # Asked of the file itself: FORCE_COLOR makes rich take a pipe for a terminal.
    if quiet or not sys.stdout.isatty() or not console.is_interactive:
        return Lines(waiting)
    return Display(console, waiting)
