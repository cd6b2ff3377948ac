"""Status line on stderr. Before training starts, the line shows the current stage, such as `importing torch`.

rich.status is not used, because it redirects stdout to stderr and is slow to import.
"""

from __future__ import annotations

import os
import sys

import click

from gankit.runtime.torchrun_env import place_of_process

CLEAR_LINE = "\r\x1b[K"


class StatusLine:
    """Context manager that shows a status line on stderr and clears it at the end.

    The line is visible only if `quiet` is false, the process has rank 0, and stderr is a terminal. This module does not
    import torch, because the line must be visible while torch is imported.
    """

    def __init__(self, quiet: bool = False) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.visible = terminal and not quiet and place_of_process().rank == 0

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def show(self, stage: str) -> None:
        """Show the name of the current stage, such as `importing torch`.

        The cursor then returns to the start of the line, so that later output overwrites the name.
        """
        if self.visible:
            click.echo(f"{CLEAR_LINE}{stage} ...\r", nl=False, err=True)

    def clear(self) -> None:
        """Clear the status line."""
        if self.visible:
            click.echo(CLEAR_LINE, nl=False, err=True)
