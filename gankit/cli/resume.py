"""`gankit resume`: goes on with a run from its newest whole checkpoint."""

from __future__ import annotations

import click

from gankit.cli.arguments import overrides_argument, quiet_option
from gankit.cli.status_line import Waiting


@click.command("resume")
@click.argument("directory", metavar="DIR")
@quiet_option
@overrides_argument
def command(directory: str, quiet: bool, overrides: tuple[str, ...]) -> None:
    """Go on with the run in DIR, as if it had never stopped.

    Only train.iterations, train.device and output.* may be changed with KEY=VALUE; the rest decides what is learnt.
    """
    with Waiting(quiet) as waiting:
        waiting.on("importing torch")
        from gankit.cli.run_command import train
        from gankit.training.launch import resume

        train(lambda progress: resume(directory, overrides, progress), quiet, waiting)
