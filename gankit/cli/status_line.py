"""Status line that names the current stage before a run starts, such as `importing torch`.

rich.status does the same, but it redirects stdout to its own console, which is stderr here, and imports slowly.
"""

from __future__ import annotations

import os
import sys

import click

from gankit.runtime.torchrun_env import place_of_process

CLEAR_LINE = "\r\x1b[K"


class StatusLine:
    """Last line of stderr, if that is a terminal. With several ranks, only the first one shows it.

    A context manager that clears the line at its end. Imports no torch, because that import is the first stage.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.visible = terminal and not quiet and place_of_process().rank == 0

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def show(self, stage: str) -> None:
        """Replace the line. The cursor returns to its start, so that other output overwrites it."""
        if self.visible:
            click.echo(f"{CLEAR_LINE}{stage} ...\r", nl=False, err=True)

    def clear(self) -> None:
        """Clear the line."""
        if self.visible:
            click.echo(CLEAR_LINE, nl=False, err=True)
