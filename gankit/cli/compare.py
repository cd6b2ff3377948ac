"""`gankit compare`: runs side by side."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from gankit.report.comparison import RunComparison


WIDEST = 10_000
"""Characters that a table may take where no terminal bounds it."""


@click.command("compare")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--html", metavar="X.html", type=click.Path(path_type=Path), help="Write a page, with curves and pictures."
)
def command(runs: tuple[Path, ...], html: Path | None) -> None:
    """Compare RUNs in a table: how each ended, measures, time, speed, parameters, memory.

    Each is named by what its recipe differs in. Runs that differ by their seed alone share a row, with the mean, the
    lowest and the highest. Numbers that were measured in different ways stand in different columns.

    The page that --html writes needs no network and opens from the disk.
    """
    from rich.console import Console
    from rich.measure import Measurement

    from gankit.cli.report import check_html
    from gankit.errors import InputError
    from gankit.report.comparison import compare_runs, format_ending, format_warning, merge_warnings, transpose
    from gankit.report.page import page, severity
    from gankit.report.run_record import read_run
    from gankit.storage.atomic_io import write_text

    check_html("--html", html)
    times = Counter(run.resolve() for run in runs)
    for run in runs:
        if times[run.resolve()] > 1:
            raise InputError(f"{run} is named twice; name each run once")
    records = [read_run(run) for run in runs]
    comparison, console = compare_runs(records), Console(highlight=False)
    upright = drawn(comparison)
    wanted = Measurement.get(console, console.options.update(width=WIDEST), upright).maximum
    if not console.is_terminal:
        console.width = max(console.width, wanted)
    console.print(upright if wanted <= console.width else drawn(transpose(comparison)))
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


def drawn(comparison: RunComparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in comparison.headings:
        table.add_column(Text(head), overflow="fold")
    for row in comparison.rows:
        table.add_row(*[Text(cell) for cell in row])
    return table
