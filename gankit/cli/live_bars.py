"""Live progress bars with lines of text below them, for single runs and for ablation studies."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

REDRAWS_PER_SECOND = 4
STDERR = 2


class LiveBars(Progress):
    """Progress bars and lines of text below them. A thread of the library rich redraws them during training.

    Each task of `rich.progress` has one bar. The task's description is written in rich's markup. The task's fields
    `count` and `left` are shown to the right of the bar. Before each redraw, the thread calls `update`, which updates
    the tasks and returns the lines below the bars.
    """

    def __init__(self, console: Console, update: Callable[[], Sequence[RenderableType]]) -> None:
        self.update_tasks = update
        name = Column(no_wrap=True, overflow="ellipsis", max_width=30)
        super().__init__(
            TextColumn("{task.description}", table_column=name),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[count]}", table_column=Column(justify="right", no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(justify="right", no_wrap=True)),
            console=console,
            expand=True,
            refresh_per_second=REDRAWS_PER_SECOND,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        # rich also calls this method before the first task is added. At that time, there are no bars to show.
        if self.tasks:
            lines = self.update_tasks()
            yield self.make_tasks_table(self.tasks)
            yield from lines


def live_console(quiet: bool) -> Console | None:
    """Return a console for a live display. Return None if `quiet` is true or stdout does not support live displays."""
    console = Console(highlight=False)
    # Check `isatty` too, because rich treats a pipe as a terminal if FORCE_COLOR is set.
    return None if quiet or not sys.stdout.isatty() or not console.is_interactive else console


def write_from_signal_handler(line: str) -> None:
    """Write a line to the file descriptor of stderr.

    A signal handler must not use `sys.stderr`, because the interrupted code may be using its buffer.
    """
    # If the terminal is closed, ignore the error. The line is then not shown.
    with suppress(OSError):
        os.write(STDERR, f"{line}\n".encode())
