"""`gankit directions`: find directions in the latent space of a generator, and draw a row of images for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import MOST_DEVIATIONS, AboveZero, condition_options, device_option, requested_by, sources_of

if TYPE_CHECKING:
    from gankit.sampling.directions import Method


@click.command("directions")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="X.safetensors, or a folder. Default: the folder of the generator.",
)
@click.option(
    "--method",
    default="pca",
    show_default=True,
    type=click.Choice(["pca", "sefa"]),
    help="pca: principal components of w or of early features. sefa: closed form of the weights.",
)
@click.option("--count", default=10, show_default=True, type=click.IntRange(min=1), help="Number of directions.")
@click.option(
    "--samples",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Samples for pca and for the standard deviations.",
)
@click.option(
    "--range",
    "reach",
    metavar="S",
    default=3.0,
    show_default=True,
    type=AboveZero(max=MOST_DEVIATIONS),
    help="Move the images of a row from -S to S standard deviations.",
)
@click.option(
    "--steps",
    default=7,
    show_default=True,
    type=click.IntRange(min=2),
    help="Images in a row.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed.")
@condition_options
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    method: Method,
    count: int,
    samples: int,
    reach: float,
    steps: int,
    seed: int,
    label: str | None,
    numbers: tuple[str, ...],
    text: str | None,
    sources: Path | None,
    device: str | None,
    trust: bool,
) -> None:
    """Find directions in which the images of the generator in FILE change most.

    FILE is a generator.safetensors file or a run directory. The command writes directions.safetensors, for `gankit
    sample --direction`, and directions.png. The picture has a row for each direction. Along a row, one image moves from
    -S to S standard deviations.

    The directions are in w if the generator has a mapping network, otherwise in z. Without options for the condition,
    the samples have all classes, and the picture shows the first class.

    \b
    gankit directions RUN
    gankit directions RUN --method sefa --class cat --out cats.safetensors
    gankit sample RUN --direction 3=2.5 --out moved.png
    """
    import torch
    from rich.progress import MofNCompleteColumn

    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.io import save_png
    from gankit.runtime.progress_bar import progress_bar
    from gankit.sampling.directions import directions_file, has_other_tensors, save_directions
    from gankit.sampling.find_directions import direction_rows, find_directions
    from gankit.sampling.generator_file import generator_file
    from gankit.sampling.grid import Layout, picture_of
    from gankit.sampling.sampler import Sampler

    tensors = directions_file(generator_file(file))
    if out is not None:
        tensors = out if out.suffix == ".safetensors" else out / tensors.name
    if tensors.is_dir() or (out is not None and out.suffix != ".safetensors" and out.is_file()):
        raise InputError(f"--out {out}: choose a folder, or a file that ends in .safetensors")
    if tensors.exists() and has_other_tensors(tensors):
        raise InputError(f"--out {out}: {tensors} has other tensors than directions; choose another name")
    sampler = Sampler.load(file, device or "auto", trust, overrides=overrides)
    if not sampler.draws_rows:
        raise InputError(f"{file}: a plugin draws all samples as one image, which has no rows for directions")
    requested = requested_by(label, numbers, text)
    given = None if sources is None else sources_of(sampler, sources)[0]
    directions = find_directions(sampler, method, count, samples, seed, requested, given)
    condition = sampler.conditions(1, requested, seed, given)
    z = sampler.latent(1, condition, seed)
    found = len(directions.vectors)
    rows = []
    with progress_bar("drawing", found, MofNCompleteColumn()) as bar:
        for row in direction_rows(sampler, directions, z, condition, reach, steps):
            rows.append(row)
            bar.advance(bar.task_ids[0])
    names = tuple(map(str, range(found)))
    picture = picture_of(sampler, torch.cat(rows), Layout(found * steps, steps, None, names))
    save_directions(directions, tensors, sampler.generator, seed=seed, samples=samples, condition=requested)
    save_png(picture, tensors.with_suffix(".png"))
    click.echo(f"{plural(found, 'direction')} of {directions.code}: {tensors} and {tensors.with_suffix('.png')}")
