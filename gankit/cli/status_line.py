"""Status line that names the current stage before a run starts, such as `importing torch`.

rich.status is not used, because it redirects stdout to stderr and takes long to import.
"""

from __future__ import annotations

import os
import sys

import click

from gankit.runtime.torchrun_env import place_of_process

CLEAR_LINE = "\r\x1b[K"


class StatusLine:
    """Context manager for the last line of stderr, if that is a terminal. The line is cleared at the end.

    Only rank 0 shows the line. This module does not import torch, because that import is the first stage.
    """

    def __init__(self, quiet: bool = False) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.visible = terminal and not quiet and place_of_process().rank == 0

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def show(self, stage: str) -> None:
        """Replace the line. The cursor goes back to the start of the line, so that other output overwrites it."""
        if self.visible:
            click.echo(f"{CLEAR_LINE}{stage} ...\r", nl=False, err=True)

    def clear(self) -> None:
        """Clear the line."""
        if self.visible:
            click.echo(CLEAR_LINE, nl=False, err=True)
