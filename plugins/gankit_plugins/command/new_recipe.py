"""Command `gankit new-recipe`: a recipe for a folder of images, this machine and the time that the user has."""

from __future__ import annotations

import shlex
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table

from gankit import (
    Dataset,
    InputError,
    Plugin,
    Recipe,
    Session,
    hookimpl,
    iteration_cost,
    load_dataset,
    progress_bar,
    step_memory,
    write_bytes,
)
from gankit_plugins.command.folder_findings import Findings, summarize, table_rows
from gankit_plugins.command.recipe_choice import (
    VERY_FEW,
    Plan,
    candidates,
    iterations_in,
    with_length,
)
from gankit_plugins.command.recipe_text import printable, recipe_text
from gankit_plugins.command.this_machine import Machine, this_machine

TIMED_SECONDS = 3.0
"""Time for which the iterations of each system are timed, in seconds."""

TIMED_ITERATIONS = 10
"""Number of iterations with the images that are timed."""

HARDLY_ANY = 50
"""Number of iterations below which no recipe is written."""

MOST_MINUTES = 60 * 24 * 365
"""Largest time for the training, in minutes: a year."""

LEAST_BATCH = 4
"""Smallest batch size that is chosen to save memory."""

WIDE = 1000
"""Width of the table, in characters, if stdout is a file or a pipe. It is large enough to avoid wrapped lines."""


class Times(NamedTuple):
    """Measured times in seconds."""

    reading: float
    """Time until the first iteration: networks, images, and features of real images."""

    iteration: float
    evaluation: float


@click.command("new-recipe")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--minutes", metavar="M", type=float, default=30.0, show_default=True, help="Time for the training, in minutes."
)
@click.option(
    "--out",
    metavar="X.toml",
    type=click.Path(path_type=Path),
    help="Recipe to write. [default: the name of FOLDER and .toml, in the current folder]",
)
@click.option("--force", is_flag=True, help="Replace an existing recipe.")
@click.option(
    "--resolution", metavar="R", type=click.IntRange(16, 1024), help="Side of the images. [default: by images and time]"
)
@click.option("--device", metavar="D", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
def command(folder: Path, minutes: float, out: Path | None, force: bool, resolution: int | None, device: str) -> None:
    """Write a recipe for the images in FOLDER, a folder or a zip file. A subfolder for each class is optional.

    The command examines all images and this machine, and chooses a system, a resolution, a batch size, an augmentation
    and a length. The memory and the time of an iteration are measured on this machine. The recipe has a comment with
    the reason for each choice.

    \b
    gankit new-recipe photos
    gankit new-recipe photos.zip --minutes 120 --out long.toml
    """
    if not 0 < minutes <= MOST_MINUTES:
        raise InputError(f"--minutes {minutes}: give a number of minutes above 0, at most {MOST_MINUTES:,}")
    out = out or Path(f"{folder.resolve().stem}.toml")
    check_output(out, force)
    machine = this_machine(device)
    findings = examine(folder)
    print_table([*table_rows(findings), ("machine", machine.describe())])
    if findings.distinct < 2:
        raise InputError(
            f"{folder}: different usable images: {findings.distinct}; a GAN needs at least 2, and "
            f"{VERY_FEW} or more for new images"
        )
    plan, times = measured_plan(candidates(findings, machine, minutes, resolution), folder, minutes, device, out)
    head = head_of(folder, out, findings, machine, minutes, plan.notes)
    text = recipe_text(with_path(with_length(plan, minutes, *times), folder, out.parent, device), out.stem, head)
    write_bytes(out, text.encode())
    for note in plan.notes:
        click.echo(f"note: {note}")
    chosen = tomllib.loads(text)
    side, train = chosen["data"]["resolution"], chosen["train"]
    click.echo(
        f"{out}: {plan.system} at {side}x{side}, batches of {train['batch_size']}, {train['iterations']:,} iterations"
    )
    click.echo(f"next:\n  gankit run {shlex.quote(str(out))}")


def check_output(out: Path, force: bool) -> None:
    """Raise InputError if a recipe cannot be written to `out`, or if a file exists and `force` is false."""
    if out.suffix != ".toml" or out.is_dir():
        raise InputError(f"--out {out}: choose the name of a file that ends in .toml")
    if out.exists() and not force:
        raise InputError(f"--out {out}: exists already; choose another name, or replace it with --force")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; create it first")


def examine(folder: Path) -> Findings:
    """Examine all image files in a folder or a zip file. Show a progress bar.

    Raises:
        InputError: the folder does not exist, has no images, or is a prepared file.
    """
    dataset, loose = image_files(folder)
    if dataset.inspect is None:
        raise InputError(f"{folder}: is a prepared file, without the original images; name their folder or zip file")
    with progress_bar("examining the images", dataset.at_most, MofNCompleteColumn()) as bar:

        def counted() -> Iterator:
            for file in dataset.inspect():  # type: ignore[misc]
                yield file
                bar.advance(bar.task_ids[0])

        return replace(summarize(counted()), loose=loose)


def image_files(folder: Path) -> tuple[Dataset, bool]:
    """Return the images in a folder or a zip file as a dataset, and True if images lie beside the class folders.

    In this case, the dataset has no classes.
    """
    settings = {"use": "images", "path": str(folder.absolute())}
    try:
        return load_dataset(settings, "gankit new-recipe"), False
    except InputError as error:
        if "classes = false" not in str(error):
            raise
        click.echo(f"note: {error}", err=True)
        return load_dataset(settings | {"classes": False}, "gankit new-recipe"), True


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print rows of a name and a text as a table."""
    table = Table(show_header=False)
    for name, text in rows:
        table.add_row(name, printable(text))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDE)
    console.print(table)


def measured_plan(plans: Sequence[Plan], folder: Path, minutes: float, device: str, out: Path) -> tuple[Plan, Times]:
    """Return the first plan that fits into the memory and the time, and the times that were measured with the images.

    If too few iterations of all plans fit, return the last plan, which is the fastest, with a note.

    Raises:
        InputError: the memory is too small for each plan, or hardly any iteration of the last plan fits.
    """
    rejected, last, possible = "", None, 0
    for plan in plans:
        side = plan.settings["data"]["resolution"]
        label = f"{plan.system} at {side}x{side}"
        click.echo(f"measuring {label}", err=True)
        if (fitting := fitting_plan(with_path(plan, folder, out.parent, device, absolute=True), out)) is None:
            rejected = f"{label} does not fit into the memory"
        else:
            seconds = iteration_cost(recipe_of(fitting, out), TIMED_SECONDS).seconds
            possible = iterations_in(minutes, 0, seconds, 0)
            if possible >= plan.least:
                return fitting, measured_times(recipe_of(fitting, out))
            last, rejected = fitting, f"{label} needs {plan.least:,} iterations, and at most {possible:,} fit"
        click.echo(rejected, err=True)
    if last is None or possible < HARDLY_ANY:
        raise InputError(
            f"--minutes {minutes:g}: no system fits; {rejected}; give more minutes or a lower --resolution"
        )
    note = (
        f"{last.system} needs {last.least:,} iterations, and fewer fit into {minutes:g} minutes: expect images that "
        "are blurred or all alike; give more --minutes."
    )
    return replace(last, notes=(*last.notes, note)), measured_times(recipe_of(last, out))


def fitting_plan(plan: Plan, out: Path) -> Plan | None:
    """Return a plan with the largest batch size up to its own that fits into the memory, or None if none fits."""
    memory = step_memory(recipe_of(plan, out))
    if memory is None or memory.available is None:
        return plan
    batch, balanced = plan.batch, plan.settings["train"].get("class_balanced", False)
    while memory.at(batch) > memory.available:
        if balanced or batch <= LEAST_BATCH:
            return None
        batch //= 2
    reason = plan.reasons["train.batch_size"] if batch == plan.batch else "the largest batch that fits"
    needed, free = (f"{size / 1e6:,.0f} MB" for size in (memory.at(batch), memory.available))
    reason += f"; a step needs about {needed} of {free} of free memory"
    return plan.changed("train.batch_size", batch, reason)


def measured_times(recipe: Recipe) -> Times:
    """Read the images, train some iterations and compute the metrics of a recipe. Return the times."""
    start = time.perf_counter()
    with Session(recipe) as session:
        session.train(1)
        reading = time.perf_counter() - start
        with timed() as training, progress_bar("timing iterations", TIMED_ITERATIONS, MofNCompleteColumn()) as bar:
            for _ in range(TIMED_ITERATIONS):
                session.train(1)
                bar.advance(bar.task_ids[0])
        with timed() as first:
            session.metrics()
        with timed() as second:
            session.metrics()
    return Times(reading + max(0.0, first[0] - second[0]), training[0] / TIMED_ITERATIONS, second[0])


@contextmanager
def timed() -> Iterator[list[float]]:
    """Yield a list. After the `with` block, the list contains the time of the block in seconds."""
    times: list[float] = []
    start = time.perf_counter()
    yield times
    times.append(time.perf_counter() - start)


def recipe_of(plan: Plan, out: Path) -> Recipe:
    """Return the recipe of a plan, with messages that name the file `out`."""
    return Recipe.from_dict(tomllib.loads(recipe_text(plan, out.stem, [])), source=out)


def with_path(plan: Plan, folder: Path, beside: Path, device: str, absolute: bool = False) -> Plan:
    """Return a plan with the path of the images and the device.

    The path is relative to the recipe in the folder `beside` if the images are in this folder. Otherwise, or if
    `absolute` is true, it is absolute.
    """
    path, home = folder.resolve(), beside.resolve()
    inside = path.is_relative_to(home) and not absolute
    data = {"use": "images", "path": path.relative_to(home).as_posix() if inside else str(path)}
    settings = {**plan.settings, "data": data | {k: v for k, v in plan.settings["data"].items() if k not in data}}
    if device != "auto":
        settings["train"] = {**settings["train"], "device": device}
    return replace(plan, settings=settings)


def head_of(
    folder: Path, out: Path, findings: Findings, machine: Machine, minutes: float, notes: Sequence[str]
) -> list[str]:
    """Return the paragraphs of the comment at the beginning of a recipe."""
    rows = [*table_rows(findings), ("machine", machine.describe())]
    return [
        f"Recipe for the images in {folder.name}, written by `gankit new-recipe` for {minutes:g} minutes.",
        f"  gankit run {shlex.quote(out.name)}",
        "\n".join(f"  {name:12} {text}" for name, text in rows),
        *notes,
    ]


class NewRecipe(Plugin):
    """Command `gankit new-recipe` for a recipe that suits a folder of images, this machine and the available time.

    The command examines all image files: number, sizes, modes, classes, duplicates, transparent and damaged files. It
    chooses a system and its settings, predicts the memory, and times iterations on this machine. If too few iterations
    fit into the time, it chooses a smaller system or a lower resolution. Each setting has a comment with its reason.

    Source: none. The choices follow the measurements in docs/choosing.md and docs/systems.md.

    When to use: to begin with your own images.
    When not: to reproduce a paper; use a recipe whose name ends in `_paper`.
    """

    name = "new-recipe"
    kind = "command"

    @hookimpl
    def register_commands(self, cli: click.Group) -> None:
        cli.add_command(command)
