"""`gankit compare`: compare runs in a table and on an HTML page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import check_output_file

if TYPE_CHECKING:
    from rich.table import Table

    from gankit.report.comparison import RunComparison


MAX_WIDTH = 10_000  # console width, in characters, that is used to measure a table without line wrapping


@click.command("compare")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", metavar="X.html", type=click.Path(path_type=Path), help="Write a page with curves and images.")
def command(runs: tuple[Path, ...], html: Path | None) -> None:
    """Compare runs in a table with the state, metrics, time, speed, parameters and memory of each run.

    The name of a run consists of the settings in which it differs from the other runs. Runs that differ only in the
    seed are shown in one row, with the mean, the minimum and the maximum of their values. If a metric was computed with
    different protocols, such as different numbers of images, the table has a column for each protocol.

    The HTML page that --html writes needs no network connection.
    """
    from rich.console import Console
    from rich.measure import Measurement

    from gankit.errors import InputError
    from gankit.report.comparison import compare_runs, format_ending, format_warning, merge_warnings, transpose
    from gankit.report.page import page, severity
    from gankit.report.run_record import read_run
    from gankit.storage.atomic_io import write_text

    if html is not None:
        check_output_file("--html", html, ".html")
    times = Counter(run.resolve() for run in runs)
    for run in runs:
        if times[run.resolve()] > 1:
            raise InputError(f"{run}: given twice; give each run once")
    records = [read_run(run) for run in runs]
    comparison, console = compare_runs(records), Console(highlight=False)
    table = _table(comparison)
    width = Measurement.get(console, console.options.update(width=MAX_WIDTH), table).maximum
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(table if width <= console.width else _table(transpose(comparison)))
    for note in comparison.notes:
        click.echo(note)
    for record in records:
        if severity(record) != "good":
            click.echo(f"{record.path}: {format_ending(record)}")
            for warning in merge_warnings(record):
                click.echo(f"  warning: {format_warning(warning)}")
    if html is not None:
        write_text(html, page(records))
        click.echo(str(html))


def _table(comparison: RunComparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in comparison.headings:
        table.add_column(Text(heading), overflow="fold")
    for row in comparison.rows:
        table.add_row(*[Text(cell) for cell in row])
    return table
