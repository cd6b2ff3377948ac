"""`gankit show`: show the newest image grid of a run in the terminal."""

from pathlib import Path

import click

LINES_BELOW = 2  # number of terminal lines that are kept free below the image, for its path and the next prompt


@click.command("show")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Show the newest image grid of RUN in the terminal, and print its path. RUN may also be an image file.

    An image that is larger than the terminal is downsized. If stdout is not a terminal with colours, only the path is
    printed.
    """
    from rich.console import Console

    from gankit.errors import InputError
    from gankit.images.io import read_image
    from gankit.images.terminal import half_blocks, resize_to_fit
    from gankit.storage.run_dir import RunDir

    path: Path | None = run
    caption = str(run)
    if run.is_dir():
        path = RunDir.open(run).newest_grid()
        if path is None:
            raise InputError(f"{run}: no grid is saved yet; `gankit resume {run}` resumes the run")
        caption = f"iteration {int(path.stem)}: {path}"
    assert path is not None
    image = read_image(path)
    console = Console(highlight=False)
    if console.color_system is not None and not console.no_color and not console.options.ascii_only:
        fitting = resize_to_fit(image, console.width, max(1, console.height - LINES_BELOW))
        console.print(half_blocks(fitting), crop=False)
    click.echo(caption)
