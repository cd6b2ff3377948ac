"""`gankit report`: write the report of a run as one HTML page."""

from pathlib import Path

import click

from gankit.cli.arguments import check_output_file


@click.command("report")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", metavar="X.html", type=click.Path(path_type=Path), help="File. [default: RUN/report.html]")
def command(run: Path, out: Path | None) -> None:
    """Write the report of RUN as one HTML page: outcome, warnings, images, curves, metrics, recipe and environment.

    The page needs no network connection. Each run writes its report when it ends. Use this command to write the report
    of an unfinished run.
    """
    from gankit.report.page import page
    from gankit.report.run_record import read_run
    from gankit.storage.atomic_io import write_text
    from gankit.storage.run_dir import RunDir

    if out is not None:
        check_output_file("--out", out, ".html")
    path = out if out is not None else RunDir.open(run).report_file
    write_text(path, page([read_run(run)]))
    click.echo(str(path))
