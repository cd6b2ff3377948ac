"""`gankit show`: a picture in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

LINES_UNDER_IT = 2
"""What the picture leaves of the terminal's height: where it lies, and the next prompt."""


@click.command("show")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Draw the newest grid of RUN, or a picture file, in the terminal, and say where it lies.

    As large as the terminal is, in its colours. Where it has none, or the output goes elsewhere, the words come alone.
    """
    from rich.console import Console

    from gankit.errors import InputError
    from gankit.images.io import read_image
    from gankit.images.terminal import resize_to_fit, half_blocks
    from gankit.storage.run_dir import RunDir

    path: Path | None = run
    words = str(run)
    if run.is_dir():
        path = RunDir.open(run).newest_grid()
        if path is None:
            raise InputError(f"{run} holds no picture yet; `gankit resume {run}` goes on with the run")
        words = f"iteration {int(path.stem)}: {path}"
    assert path is not None
    drawn = read_image(path)
    console = Console(highlight=False)
    if console.color_system is not None and not console.no_color and not console.options.ascii_only:
        console.print(
            half_blocks(resize_to_fit(drawn, console.width, max(1, console.height - LINES_UNDER_IT))), crop=False
        )
    click.echo(words)
