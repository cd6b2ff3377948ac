"""Progress bar for downloading files and decoding images."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(description: str, total: int | None, counter: ProgressColumn) -> Progress:
    """Return a progress bar with one task. It is visible only if stderr is a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), counter, TimeRemainingColumn()
    # Use isatty, because rich treats a pipe as a terminal if FORCE_COLOR is set.
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    progress.add_task(description, total=total)
    return progress
