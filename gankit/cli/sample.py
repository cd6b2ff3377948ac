"""`gankit sample`: images from a generator file.

Interpolations and sweeps are flags of this verb, not verbs of their own: they are its grid with other z, and take its
seed, class and device. What takes a run and no generator is elsewhere: `gankit show`, `gankit animate`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from gankit.cli.arguments import device_option

NO_PNG = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of pictures that somebody may expect; a folder is hardly meant."""


COLUMNS = 10
"""Images to a row of a sweep, unless --count says how many there are to be in all."""


class Thresholds(click.ParamType):
    """Numbers above 0, with commas between them."""

    name = "thresholds"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        above_zero = click.FloatRange(min=0, min_open=True)
        thresholds = tuple(above_zero.convert(part, parameter, context) for part in value.split(","))
        if any(math.isnan(threshold) for threshold in thresholds):
            # Which no bound keeps out.
            self.fail(f"{value!r} has what is no number; 'inf' is the whole prior.", parameter, context)
        return thresholds


@click.command("sample")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--out", metavar="PATH", required=True, type=click.Path(path_type=Path), help="X.png, or a folder.")
@click.option("--count", default=64, show_default=True, type=click.IntRange(min=1), help="How many images.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Same seed, same images.")
@click.option("--class", "wanted", metavar="C", help="Only this class, by name or by number.")
@click.option(
    "--truncation",
    "thresholds",
    metavar="T[,T]...",
    type=Thresholds(),
    default=(),
    help="Draw again what of z lies beyond T: less variety, more typical images. Several, a row for each.",
)
@click.option("--interpolate", is_flag=True, help="Let each row lead from one z to another.")
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    out: Path,
    count: int,
    seed: int,
    wanted: str | None,
    thresholds: tuple[float, ...],
    interpolate: bool,
    device: str | None,
    trust: bool,
) -> None:
    """Draw images from FILE, a generator.safetensors or a run directory.

    With a PATH that ends in .png they become one grid, with a row for each class, as many to a row as COUNT suffices
    for. Any other PATH is a new folder of one PNG for each image, the classes in turn.

    \b
    gankit sample RUN --out lines.png --interpolate           the same grid, each row filled from first to last
    gankit sample RUN --out sweep.png --truncation 0.3,1,inf  a row for each, of the same z; inf: the whole prior
    """
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.io import save_png
    from gankit.sampling.grid import interpolate_rows, draw_grid, grid_layout, truncation_rows
    from gankit.sampling.sampler import Sampler, save_images
    from gankit.storage.run_dir import RunDir

    if out.suffix.lower() in NO_PNG:
        raise InputError(f"--out {out}: pictures are written as PNG; name a file that ends in .png, or a folder")
    as_grid = out.suffix.lower() == ".png"
    if as_grid and out.is_dir():
        raise InputError(f"--out {out}: a folder of that name is in the way")
    if not as_grid and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: something is there already; name a new folder, or a file that ends in .png")
    sweeping = len(thresholds) > 1
    rows_by = "--interpolate" if interpolate else "--truncation" if sweeping else None
    if rows_by is not None and not as_grid:
        raise InputError(f"{rows_by}: rows belong to a grid; let --out name a file that ends in .png")
    if interpolate and sweeping:
        raise InputError("--interpolate: rows cannot be for thresholds as well; give --truncation one of them")
    if file.is_dir():
        run = file
        file = RunDir.open(run).generator_file
        if not file.exists():
            raise InputError(f"{run} holds no generator yet; `gankit resume {run}` goes on with the run")
    sampler = Sampler.load(file, device or "auto", trust)
    index = None if wanted is None else sampler.class_index(wanted)
    if sampler.draw_samples is not None and not as_grid:
        raise InputError(
            f"--out {out}: these samples are drawn together, as one picture; name a file that ends in .png"
        )
    if sampler.draw_samples is not None and rows_by is not None:
        raise InputError(f"{rows_by}: these samples are drawn together, as one picture, which has no rows")
    truncation = thresholds[0] if thresholds else None
    if sweeping:
        if context.get_parameter_source("count") is ParameterSource.DEFAULT:
            count = COLUMNS * len(thresholds)
        z, labels, columns, row_names = truncation_rows(sampler, count, thresholds, seed, index)
        save_png(draw_grid(sampler, z, labels, columns, row_names), out)
    elif as_grid:
        count, columns, labels, row_names = grid_layout(sampler, count, index)
        z = sampler.latent(count, labels, seed, truncation)
        if interpolate:
            z, labels = interpolate_rows(sampler, z, labels, columns)
        save_png(draw_grid(sampler, z, labels, columns, row_names), out)
    else:
        labels = sampler.labels(count, index)
        z = sampler.latent(count, labels, seed, truncation)
        save_images(sampler.images(z, labels), labels, sampler.class_names, out)
    click.echo(f"{plural(len(z), 'image')}: {out}")
