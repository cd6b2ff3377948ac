"""Progress display of a run: a live display on a terminal, plain lines of text otherwise."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gankit.cli.live_bars import LiveBars, live_console, write_from_signal_handler
from gankit.cli.run_facts import describe_images, describe_parameters
from gankit.cli.status_line import StatusLine
from gankit.formatting import duration, number
from gankit.plugin.base import Plugin
from gankit.plugin.hooks import hooks_of
from gankit.plugin.slots import PLAYERS, Player
from gankit.report.page import write_report_of
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import TrainingRun

STOPPING = "stopping after this iteration, with a checkpoint; a second Ctrl-C stops at once"


class Pace:
    """Training speed over the last 30 seconds. The slow first iterations affect this speed only for a short time."""

    WINDOW = 30.0
    SPACING = 0.5

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.marks: deque[tuple[float, int, int]] = deque()

    def mark(self, iterations: int, images: int) -> None:
        """Record the current time and the numbers of iterations and images so far.

        Calls within half a second share one record, which limits the number of stored records.
        """
        marks, now = self.marks, self.now()
        if len(marks) > 1 and now - marks[-2][0] < self.SPACING:
            marks[-1] = (now, iterations, images)
        else:
            marks.append((now, iterations, images))
        while len(marks) > 2 and now - marks[1][0] > self.WINDOW:
            marks.popleft()

    def images_per_second(self) -> float | None:
        """Return the training speed in real images per second, or None before the first iteration is done."""
        (start, _, before), (end, _, after) = self.marks[0], self.marks[-1]
        return (after - before) / (end - start) if end > start else None

    def seconds_left(self, iterations: int) -> float | None:
        """Return the expected time for `iterations` more iterations, in seconds.

        Return None before the first iteration is done.
        """
        (start, before, _), (end, after, _) = self.marks[0], self.marks[-1]
        if after == before:
            return None
        expected = iterations * (end - start) / (after - before)
        return max(0.0, expected - (self.now() - end))


class RunProgress(Reporter):
    """Base class of the live and the plain progress display of a run. Train the run inside the `with` block.

    `status` is the line in the terminal that shows the current stage, such as `importing torch`, before the run starts.
    """

    def __init__(self, status: StatusLine | None = None) -> None:
        self.status = status or StatusLine(quiet=True)
        self.directory: RunDir | None = None
        self.pace = Pace()
        self.first = self.iteration = self.total = 0
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def informed(self, sentence: str) -> None:
        self.status.clear()
        click.echo(sentence)

    def preparing(self, stage: str) -> None:
        self.status.show(stage)

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        if self.directory is None:
            self.first = run.iteration
        self.directory = directory
        self.name, self.total = run.recipe.name, run.recipe.train.iterations
        self.batch_size = run.recipe.train.batch_size
        self.samples = samples_path(run.recipe.plugin_class("data"))
        self.rates = {player: run.learning_rate(player) for player in PLAYERS}
        self.losses: dict[Player, dict[str, float]] = {player: {} for player in PLAYERS}
        # After a rollback, the run starts again at an earlier iteration. Discard the recorded times.
        self.pace.marks.clear()
        self.trained(run)
        at = f", from iteration {run.iteration}" if run.iteration else ""
        self.informed(f"{self.name}: {describe_images(run)}")
        click.echo(
            f"generator {describe_parameters(run.generator)}, "
            f"discriminator {describe_parameters(run.discriminator)}, on {run.device}"
        )
        click.echo(f"into {directory.path}{at}")

    def trained(self, run: TrainingRun) -> None:
        self.iteration = run.iteration
        self.pace.mark(run.iteration, run.step_counts["discriminator"] * self.batch_size)

    def logged(self, row: dict[str, Any]) -> None:
        self.rates, self.losses = row["learning_rate"], row["loss"]

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        self.metrics = metrics

    def warned(self, sentence: str) -> None:
        self.informed(f"warning: {sentence}")

    def concluded(self, directory: RunDir) -> None:
        write_report_of(directory, self.informed)

    def speed_and_time_left(self) -> str:
        """Return the speed and the remaining time: `384 images/s  12 min 30 s left`. The text omits unknown values."""
        rate, left = self.pace.images_per_second(), self.pace.seconds_left(self.total - self.iteration)
        known = [f"{rate:.0f} images/s"] if rate is not None else []
        return "  ".join(known + ([f"{duration(left)} left"] if left is not None else []))


class PlainProgress(RunProgress):
    """Plain display: one line of text for each row of `log.jsonl`."""

    def logged(self, row: dict[str, Any]) -> None:
        super().logged(row)
        parts = [f"{row['iteration']}/{self.total}"]
        for player in PLAYERS:
            values = [f"{name} {number(value)}" for name, value in self.losses[player].items()]
            parts.append(" ".join([f"{player}:", f"lr {self.rates[player]:.3g}", *values]))
        click.echo("  ".join([*parts, self.speed_and_time_left()]))

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        values = " ".join(f"{name} {number(value)}" for name, value in metrics.items())
        cost = f"  (took {duration(seconds)})" if seconds else ""
        click.echo(f"{iteration}/{self.total}  metrics: {values}{cost}")

    def stopping(self) -> None:
        write_from_signal_handler(STOPPING)


class LiveProgress(RunProgress):
    """Live display: a bar, the losses of both networks, the newest metrics, the speed and the time left."""

    def __init__(self, console: Console, status: StatusLine | None = None) -> None:
        super().__init__(status)
        self.bars = LiveBars(console, self.update)
        self.stop_requested = False
        self.evaluates = False

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        super().started(run, directory)
        if not self.bars.tasks:
            self.task = self.bars.add_task(f"[bold]{escape(self.name)}", total=self.total, count="", left="")
        self.bars.start()

    def warned(self, sentence: str) -> None:
        self.status.clear()
        # `console.print` writes above the live display. The display would overwrite the output of `click.echo`.
        self.bars.console.print(Text(f"warning: {sentence}"))

    def evaluating(self) -> None:
        self.evaluates = True

    def trained(self, run: TrainingRun) -> None:
        super().trained(run)
        self.evaluates = False

    def stopping(self) -> None:
        self.stop_requested = True

    def ended(self, outcome: Outcome) -> None:
        self.bars.stop()

    def update(self) -> Sequence[RenderableType]:
        """Update the progress bar and return the lines of text below the bar."""
        self.bars.update(self.task, completed=self.iteration, count=f"{100 * self.iteration // self.total}%")
        lines = Table.grid(padding=(0, 2))
        for player in PLAYERS:
            rate = Text.assemble(("lr ", "dim"), f"{self.rates[player]:.3g}")
            lines.add_row(Text(player, "cyan"), Text("   ").join([rate, *_values(self.losses[player])]))
        if self.metrics:
            lines.add_row(Text("metrics", "cyan"), Text("   ").join(_values(self.metrics)))
        activity = "computing the metrics" if self.evaluates else self.speed_and_time_left()
        state = f"iteration {self.iteration}/{self.total}  {activity}"
        # The last line is short, so that it does not wrap when the terminal appends "^C" to it.
        return lines, Text(STOPPING if self.stop_requested else state)


def _values(values: dict[str, float]) -> list[Text]:
    """Return a `rich.text.Text` for each value: its name, a non-breaking space and the number."""
    return [Text.assemble((f"{name}\u00a0", "dim"), number(value)) for name, value in values.items()]


def samples_path(data: type[Plugin]) -> str:
    """Return the name of a file, or of a folder, for generated samples of a data plugin, such as `samples.csv`."""
    if data.sample_suffixes:
        return f"samples{data.sample_suffixes[0]}"
    return "samples" if "save_samples" in hooks_of(data) else "samples.png"


def run_progress(quiet: bool, status: StatusLine | None = None) -> RunProgress:
    """Return the progress display of a run.

    The display is live if `quiet` is false and stdout is a terminal that supports live displays. Otherwise, it is plain
    text.
    """
    console = live_console(quiet)
    return PlainProgress(status) if console is None else LiveProgress(console, status)
