"""What is waited for before a run begins: a line of the terminal that is gone as soon as there is something to say."""

from __future__ import annotations

import os
import sys

import click

from gankit.runtime.torchrun_env import place_of_process

CLEARED = "\r\x1b[K"
"""Takes a terminal's line away."""


class Waiting:
    """The line, on stderr where that is a terminal; of several ranks, the first one's. To be left when it is over.

    Imports no torch, which is the first thing to be waited for.

    Args:
        quiet: nothing is shown anywhere.
    """

    def __init__(self, quiet: bool = False) -> None:
        able = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.shown = able and not quiet and place_of_process().rank == 0

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *error: object) -> None:
        self.over()

    def on(self, what: str) -> None:
        """In place of what was waited for before. What somebody else says next is written over it."""
        if self.shown:
            click.echo(f"{CLEARED}{what} ...\r", nl=False, err=True)

    def over(self) -> None:
        """The line is free for something else."""
        if self.shown:
            click.echo(CLEARED, nl=False, err=True)
