"""`gankit prepare`: any dataset as one file that training uses at once."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import overrides_argument

if TYPE_CHECKING:
    from rich.progress import Progress

    from gankit.plugin.dataset import Dataset


@click.command("prepare")
@click.argument("data")
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The file, ending in .safetensors; replaced if it is there.",
)
@overrides_argument
def command(data: str, out: Path, overrides: tuple[str, ...]) -> None:
    """Turn the images of DATA into one file that training reads at once.

    DATA is what a recipe says in data.use: images, mnist, ./my_data.py:MyData. KEY=VALUE are its settings, which
    `gankit describe DATA` explains.
    """
    from gankit.data.prepared import prepare
    from gankit.formatting import plural

    # As Ctrl-C does, SIGTERM is to remove the file that is half written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    dataset = dataset_of(data, overrides)
    bar = progress_bar()
    task = bar.add_task("preparing", total=dataset.at_most)
    with ExitStack() as stack:

        def written(images: int) -> None:
            # Shown from the first image on: what comes before, a download for instance, may have a bar of its own.
            if not (bar.disable or bar.live.is_started):
                stack.enter_context(bar)
            bar.advance(task, images)

        count = prepare(dataset, out, " ".join((data, *overrides)), written)
        bar.update(task, total=count)
    shape = f"{dataset.channels}x{dataset.resolution}x{dataset.resolution}"
    classes = plural(len(dataset.class_names), "class", "classes") if dataset.class_names else "no classes"
    click.echo(f"{plural(count, 'image')} of {shape}, {classes}, {out.stat().st_size / 1e6:.1f} MB: {out}")


def dataset_of(use: str, settings: tuple[str, ...]) -> Dataset:
    """What a data plugin loads with these settings.

    Raises RecipeError or InputError with what is wrong with them, or with the files that they name.
    """
    from gankit.errors import recipe_errors
    from gankit.plugin.build import build_plugins
    from gankit.plugin.registry import Registry
    from gankit.plugin.spec import Spec
    from gankit.recipe.recipe import RecipeParser
    from gankit.recipe.toml import parse_overrides

    asker = "gankit prepare"
    parts = RecipeParser(
        {"data": {**parse_overrides(settings), "use": use}}, asker, Registry.installed()
    ).components_at(["data"])
    _, hooks = build_plugins(parts, asker)
    with recipe_errors(asker, "data"):
        dataset: Dataset = hooks.one("load_data", Spec())
    return dataset


def progress_bar() -> Progress:
    """Counts images on stderr where that is a terminal, and says nothing elsewhere."""
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
