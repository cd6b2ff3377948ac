"""`gankit report`: a run as one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", metavar="X.html", type=click.Path(path_type=Path), help="Where to write it; RUN/report.html.")
def command(run: Path, out: Path | None) -> None:
    """Write RUN as one HTML page: how it ended, advice, pictures, curves, measures, recipe, environment.

    The page needs no network and opens from the disk. A run writes it by itself when it ends; this brings it up to date
    while a run goes on, or after its generator was measured.
    """
    from gankit.report.page import page
    from gankit.report.run_record import read_run
    from gankit.storage.atomic_io import write_text
    from gankit.storage.run_dir import RunDir

    check_html("--out", out)
    path = out if out is not None else RunDir.open(run).report_file
    write_text(path, page([read_run(run)]))
    click.echo(str(path))


def check_html(flag: str, out: Path | None) -> None:
    """Raises InputError where a page cannot be written under that name."""
    from gankit.errors import InputError

    if out is not None and out.suffix.lower() != ".html":
        raise InputError(f"{flag} {out}: the page is written as HTML; name a file that ends in .html")
    if out is not None and out.is_dir():
        raise InputError(f"{flag} {out}: a folder of that name is in the way")
