"""`gankit prepare`: convert a dataset to a single file that loads fast."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import overrides_argument

if TYPE_CHECKING:
    from rich.progress import Progress


@click.command("prepare")
@click.argument("data")
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, ending in .safetensors. An existing file is replaced.",
)
@overrides_argument
def command(data: str, out: Path, overrides: tuple[str, ...]) -> None:
    """Convert the images of DATA to one file that loads fast.

    DATA is the name of a data plugin (images, mnist) or a class in a file (./my_data.py:MyData), as in the setting
    data.use of a recipe. KEY=VALUE is a setting of this plugin; `gankit describe DATA` lists its settings.
    """
    from gankit.data.load import load_dataset
    from gankit.data.prepared import prepare
    from gankit.formatting import plural
    from gankit.recipe.toml import parse_overrides

    dataset = load_dataset({**parse_overrides(overrides), "use": data}, "gankit prepare")
    bar = progress_bar()
    task = bar.add_task("preparing", total=dataset.at_most)
    with ExitStack() as stack:

        def written(images: int) -> None:
            # Start the progress bar only when the first image is written. Before that, a download may show another bar.
            if not (bar.disable or bar.live.is_started):
                stack.enter_context(bar)
            bar.advance(task, images)

        count = prepare(dataset, out, " ".join((data, *overrides)), written)
        bar.update(task, total=count)
    shape = "x".join(map(str, dataset.shape))
    condition = dataset.condition.describe(names=False) if dataset.condition is not None else "no classes"
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    contents = f"; from {dataset.contents}" if dataset.contents else ""
    click.echo(f"{plural(count, 'image')} of {shape}, {condition}, {size}: {out}{contents}")


def progress_bar() -> Progress:
    """Return a progress bar on stderr. The bar is disabled if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        refresh_per_second=4,
    )
