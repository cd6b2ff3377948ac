"""Progress bar of downloads and of decoding."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(description: str, total: int | None, counter: ProgressColumn) -> Progress:
    """Return a progress bar with one task. It is shown on a terminal only."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), counter, TimeRemainingColumn()
    # With FORCE_COLOR, rich treats a pipe as a terminal, so isatty is used.
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    progress.add_task(description, total=total)
    return progress
