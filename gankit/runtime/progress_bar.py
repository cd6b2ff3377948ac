"""Progress bar for slow operations of plugins, such as downloads, decoding and the training of a classifier."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(description: str, total: int | None, counter: ProgressColumn) -> Progress:
    """Return a rich progress bar with one task. The bar is visible only if stderr is a terminal.

    Use the bar as a context manager, and call `bar.advance(bar.task_ids[0])` after each unit of work.

    Args:
        description: text before the bar.
        total: number of units of work, or None if it is unknown.
        counter: column after the bar, such as `rich.progress.MofNCompleteColumn()`.
    """
    columns = TextColumn("{task.description}", markup=False), BarColumn(), counter, TimeRemainingColumn()
    # Use isatty, because rich treats a pipe as a terminal if FORCE_COLOR is set.
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    progress.add_task(description, total=total)
    return progress
