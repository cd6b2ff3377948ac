"""`gankit resume`: resume a run from its newest complete checkpoint."""

import click

from gankit.cli.arguments import overrides_argument, quiet_option
from gankit.cli.status_line import StatusLine


@click.command("resume")
@click.argument("directory", metavar="DIR")
@click.option("--restart", is_flag=True, help="Move the results to DIR/before-N, and start again from the beginning.")
@click.option("--allow-changed-data", is_flag=True, help="Resume even if images or labels have changed.")
@quiet_option
@overrides_argument
def command(directory: str, restart: bool, allow_changed_data: bool, quiet: bool, overrides: tuple[str, ...]) -> None:
    """Resume the run in DIR. The result is the same as the result of an uninterrupted run.

    KEY=VALUE may change train.iterations, train.device, train.rollbacks, train.rollback_factor, the settings of output,
    and paths to moved files, such as data.path=NEW. No other setting can be changed after the start of a run.
    """
    with StatusLine(quiet) as status:
        status.show("importing torch")
        from gankit.cli.run_command import train
        from gankit.training.launch import resume

        train(lambda progress: resume(directory, overrides, progress, restart, allow_changed_data), quiet, status)
