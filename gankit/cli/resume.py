"""`gankit resume`: resume a run from its newest complete checkpoint."""

import click

from gankit.cli.arguments import overrides_argument, quiet_option
from gankit.cli.status_line import StatusLine


@click.command("resume")
@click.argument("directory", metavar="DIR")
@quiet_option
@overrides_argument
def command(directory: str, quiet: bool, overrides: tuple[str, ...]) -> None:
    """Resume the run in DIR. The result is the same as that of an uninterrupted run.

    KEY=VALUE may change train.iterations, train.device and the settings of output. No other setting can be changed
    after the start of a run.
    """
    with StatusLine(quiet) as status:
        status.show("importing torch")
        from gankit.cli.run_command import train
        from gankit.training.launch import resume

        train(lambda progress: resume(directory, overrides, progress), quiet, status)
