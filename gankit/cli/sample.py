"""`gankit sample`: draw images from a generator file, with optional interpolation and truncation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gankit.cli.arguments import (
    AboveZero,
    Move,
    Sweep,
    check_output_file,
    condition_options,
    device_option,
    requested_by,
    sources_of,
    sweep_values,
)

if TYPE_CHECKING:
    from gankit.sampling.sampler import Sampler

OTHER_SUFFIXES = (
    *(".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".csv", ".parquet", ".txt", ".json", ".wav", ".mp4", ".npy", ".safetensors"),
)
"""Suffixes of files. A folder for `--out` with such a suffix is an error, because the user probably expects a file."""

SWEEP_COLUMNS = 10  # default number of images for each threshold, if several truncation thresholds are given


class Thresholds(click.ParamType):
    """Click parameter type for truncation thresholds: numbers above 0, separated by commas."""

    name = "thresholds"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(AboveZero().convert(part, parameter, context) for part in value.split(","))


@click.command("sample")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--out",
    metavar="PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="X.png for a grid, or a new folder for one file per image. Tables, texts, ...: also one file, such as X.csv.",
)
@click.option(
    "--count",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of images, or of other samples such as rows.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed.")
@condition_options
@click.option(
    "--truncation",
    "thresholds",
    metavar="T[,T]...",
    type=Thresholds(),
    default=(),
    help="Redraw entries of z beyond T: less variety, more typical images. Several T give a row each.",
)
@click.option("--to-class", "last", metavar="C", help="Lead each row from the class of --class to this one.")
@click.option(
    "--sweep",
    "sweeps",
    metavar="NAME=VALUES",
    multiple=True,
    type=Sweep(),
    help="Show values of the condition side by side, such as age=20..60 or hair=black,grey. At most twice.",
)
@click.option(
    "--steps",
    default=8,
    show_default=True,
    type=click.IntRange(min=2),
    help="Images in a row with --to-class; values in a range of --sweep.",
)
@click.option("--interpolate", is_flag=True, help="Interpolate each row from one z to another.")
@click.option(
    "--direction",
    "moves",
    metavar="N=S",
    multiple=True,
    type=Move(),
    help="Move S standard deviations along direction N. May be repeated.",
)
@click.option(
    "--directions",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File of `gankit directions`. Default: the file beside the generator.",
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    overrides: tuple[str, ...],
    out: Path,
    count: int,
    seed: int,
    label: str | None,
    numbers: tuple[str, ...],
    text: str | None,
    sources: Path | None,
    thresholds: tuple[float, ...],
    last: str | None,
    sweeps: tuple[tuple[str, str], ...],
    steps: int,
    interpolate: bool,
    moves: tuple[tuple[int, float], ...],
    directions: Path | None,
    device: str | None,
    trust: bool,
) -> None:
    """Draw images with the generator in FILE: a generator.safetensors file, a run directory, or hf://USER/NAME.

    If the path of --out ends in .png, the command writes one image grid and replaces an existing file. For a
    class-conditional generator, the grid has a row for each class. Any other path is a folder, which must be new or
    empty. The command writes one PNG file for each image into this folder. For data such as audio, a plugin may write
    other files instead, and may write all samples to one file, such as rows.csv.

    Without options for the condition, the classes are used in turn: 0, 1, 2, ..., 0, 1, 2, ... Conditions other than
    classes, such as attributes, are taken from the training data. For an image-to-image generator, a grid shows each
    source image to the left of its sample. The default of --count is then the number of source images. The files of a
    folder have the names of the source images.

    KEY=VALUE changes a setting of a plugin that is used for sampling, such as the trick truncation or the generator.

    `gankit directions RUN` finds the directions for --direction.

    \b
    gankit sample RUN --out lines.png --interpolate           interpolate between the first and last image of a row
    gankit sample RUN --out sweep.png --truncation 0.3,1,inf  one row for each threshold; inf disables truncation
    gankit sample RUN tricks.truncation.threshold=0.5 --out cut.png
    gankit sample RUN --set age=30 --set smile=1 --out p.png  set the numbers age and smile of the condition
    gankit sample RUN --class cat --to-class dog --out d.png  interpolate from cat to dog, with one z for each row
    gankit sample RUN --sweep age=20..60 --out ages.png       one column for each age, and one z for each row
    gankit sample RUN --sweep hair=black,grey --sweep age=20..60 --out g.png    one row for each hair, with one z
    gankit sample RUN --direction 3=2.5 --out moved.png       move along direction 3 of `gankit directions`
    gankit sample RUN --input edges/ --out photos/            one image for each source image
    gankit sample RUN --out rows.csv --count 1000             all rows of a table in one file
    """
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.io import save_png
    from gankit.sampling.grid import class_rows, draw_grid, grid_layout, interpolate_rows, sweep_rows, truncation_rows
    from gankit.sampling.sampler import Sampler

    as_grid = out.suffix.lower() == ".png"
    several = len(thresholds) > 1
    chosen = {
        "--to-class": last is not None,
        "--sweep": bool(sweeps),
        "--interpolate": interpolate,
        "--truncation": several,
    }
    row_option = next((option for option, given in chosen.items() if given), None)
    if row_option is not None and not as_grid:
        raise InputError(f"{row_option}: rows need a grid; give --out a file that ends in .png")
    if interpolate and several:
        raise InputError("--interpolate: not possible with several thresholds; give --truncation one of them")
    if last is not None and (interpolate or several or sweeps or numbers or text is not None or sources is not None):
        raise InputError(
            "--to-class: rows lead from class to class; leave out the other options for rows and conditions"
        )
    if sweeps and (interpolate or several or sources is not None):
        raise InputError("--sweep: leave out --interpolate, --input, and all but one threshold of --truncation")
    if len(sweeps) > 2 or len(dict(sweeps)) < len(sweeps):
        raise InputError("--sweep: a grid has rows and columns; give at most two sweeps, of different names")
    if len(sweeps) == 2 and context.get_parameter_source("count") is not ParameterSource.DEFAULT:
        raise InputError("--count: two sweeps have one image for each pair of values; leave it out")
    values = {name: sweep_values(text, steps) for name, text in sweeps}
    if last is None and not sweeps and context.get_parameter_source("steps") is not ParameterSource.DEFAULT:
        raise InputError(
            "--steps: is for rows from class to class and for ranges; add --class and --to-class, or --sweep, or leave "
            "it out"
        )
    if last is not None and label is None:
        raise InputError(f"--to-class {last}: name the class of the first image of a row with --class")
    if directions is not None and not moves:
        raise InputError(f"--directions {directions}: is for moves; add --direction, or leave it out")
    sampler = Sampler.load(file, device or "auto", trust, overrides=overrides)
    as_file = not as_grid and out.suffix != "" and bool(sampler.file_suffixes)
    if as_grid or as_file or out.suffix.lower() in OTHER_SUFFIXES:
        check_output_file("--out", out, ".png", *sampler.file_suffixes)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        endings = " or ".join((".png", *(suffix for suffix in sampler.file_suffixes if suffix != ".png")))
        raise InputError(f"--out {out}: exists already; choose a new folder, or a file that ends in {endings}")
    if moves:
        sampler = moved_along(sampler, file, moves, directions)
    requested = requested_by(label, numbers, text)
    given, names = (None, []) if sources is None else sources_of(sampler, sources)
    if not sampler.draws_rows and not (as_grid or as_file or sampler.saves_own_files):
        raise InputError(f"--out {out}: a plugin draws all samples as one image; choose a file that ends in .png")
    if not sampler.draws_rows and row_option is not None:
        raise InputError(f"{row_option}: a plugin draws all samples as one image, which has no rows; leave it out")
    truncation = thresholds[0] if thresholds else None
    if context.get_parameter_source("count") is ParameterSource.DEFAULT and (several or given is not None):
        count = (SWEEP_COLUMNS if given is None else len(given)) * max(1, len(thresholds))
    if label is not None and last is not None:
        z, layout = class_rows(sampler, count, steps, label, last, seed, truncation)
        save_png(draw_grid(sampler, z, layout), out)
    elif sweeps:
        rows = max(1, count // len(values[sweeps[0][0]]))
        z, layout = sweep_rows(sampler, values, rows, seed, requested, truncation)
        save_png(draw_grid(sampler, z, layout), out)
    elif several:
        z, layout = truncation_rows(sampler, count, thresholds, seed, requested, given)
        save_png(draw_grid(sampler, z, layout), out)
    elif as_grid:
        layout = grid_layout(sampler, count, requested, seed, given)
        z = sampler.latent(layout.total, layout.condition, seed, truncation)
        if interpolate:
            z, condition = interpolate_rows(sampler, z, layout.condition, layout.columns)
            layout = layout._replace(total=len(z), condition=condition)
        save_png(draw_grid(sampler, z, layout), out)
    else:
        condition = sampler.conditions(count, requested, seed, given)
        z = sampler.latent(count, condition, seed, truncation)
        if as_file:
            sampler.save_file(z, condition, out, seed)
        else:
            sampler.save(z, condition, out, names)
    images = as_grid or not (as_file or sampler.saves_own_files)
    click.echo(f"{plural(len(z), 'image' if images else 'sample')}: {out}")


def moved_along(sampler: Sampler, file: Path, moves: tuple[tuple[int, float], ...], directions: Path | None) -> Sampler:
    """Return a sampler whose samples are moved along directions.

    Args:
        sampler: sampler with the generator.
        file: generator file or run directory of this generator.
        moves: number of each direction, and the standard deviations of the move.
        directions: file of directions, or None for the file beside the generator.

    Raises:
        InputError: a direction is given twice or does not exist, or the file of directions is missing, damaged or made
            for another generator.
    """
    from gankit.errors import InputError
    from gankit.sampling.directions import directions_file, load_directions
    from gankit.sampling.generator_file import generator_file

    numbers = [number for number, _ in moves]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--direction {max(numbers, key=numbers.count)}: is given twice; keep one")
    path = directions or directions_file(generator_file(file))
    if directions is None and not path.exists():
        raise InputError(f"--direction: there is no file {path}; find the directions with `gankit directions {file}`")
    return sampler.moved(load_directions(path, sampler.generator), dict(moves))
