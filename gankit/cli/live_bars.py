"""Live progress bars with lines of text below them, for runs and for studies."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

REDRAWS_PER_SECOND = 4
STDERR = 2


class LiveBars(Progress):
    """Progress bars and lines below them. rich redraws them in a thread, so training never waits for the terminal.

    The description of a task is markup. Its fields `count` and `left` are texts to the right of its bar. Before each
    redraw, the thread calls `update`, which updates the tasks and returns the lines below the bars.
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
        # rich calls this method also before the first task is added.
        if self.tasks:
            lines = self.update_tasks()
            yield self.make_tasks_table(self.tasks)
            yield from lines


def live_console(quiet: bool) -> Console | None:
    """Return the console for a live display, or None if `quiet` or if stdout is not a terminal that can show it."""
    console = Console(highlight=False)
    # stdout itself is checked, because FORCE_COLOR makes rich treat a pipe as a terminal.
    return None if quiet or not sys.stdout.isatty() or not console.is_interactive else console


def write_from_signal_handler(line: str) -> None:
    """Write a line to stderr without Python's buffers, which the interrupted code may be using."""
    os.write(STDERR, f"{line}\n".encode())
