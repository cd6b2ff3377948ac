"""`gankit sample`: images from a generator file."""

from __future__ import annotations

from pathlib import Path

import click

from gankit.cli.arguments import device_option

NO_PNG = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of pictures that somebody may expect; a folder is hardly meant."""


@click.command("sample")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--out", metavar="PATH", required=True, type=click.Path(path_type=Path), help="X.png, or a folder.")
@click.option("--count", default=64, show_default=True, type=click.IntRange(min=1), help="How many images.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Same seed, same images.")
@click.option("--class", "wanted", metavar="C", help="Only this class, by name or by number.")
@click.option(
    "--truncation",
    metavar="T",
    type=click.FloatRange(min=0, min_open=True),
    help="Draw again what of z lies beyond T: less variety, more typical images.",
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    out: Path,
    count: int,
    seed: int,
    wanted: str | None,
    truncation: float | None,
    device: str | None,
    trust: bool,
) -> None:
    """Draw images from FILE, a generator.safetensors or a run directory.

    With a PATH that ends in .png they become one grid, with a row for each class, as many to a row as COUNT suffices
    for. Any other PATH is a new folder of one PNG for each image, the classes in turn.
    """
    from gankit.cli.words import counted
    from gankit.errors import InputError
    from gankit.pictures import save_png
    from gankit.run_dir import RunDir
    from gankit.sampling import Sampler, draw_grid, grid_layout, save_folder

    if out.suffix.lower() in NO_PNG:
        raise InputError(f"--out {out}: pictures are written as PNG; name a file that ends in .png, or a folder")
    as_grid = out.suffix.lower() == ".png"
    if as_grid and out.is_dir():
        raise InputError(f"--out {out}: a folder of that name is in the way")
    if not as_grid and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: something is there already; name a new folder, or a file that ends in .png")
    if file.is_dir():
        run = file
        file = RunDir.open(run).generator_file
        if not file.exists():
            raise InputError(f"{run} holds no generator yet; `gankit resume {run}` goes on with the run")
    sampler = Sampler.load(file, device or "auto", trust)
    index = None if wanted is None else sampler.class_index(wanted)
    if as_grid:
        count, columns, labels, row_names = grid_layout(sampler, count, index)
        z = sampler.latent(count, labels, seed, truncation)
        save_png(draw_grid(sampler, z, labels, columns, row_names), out)
    elif sampler.draw_samples is not None:
        raise InputError(
            f"--out {out}: these samples are drawn together, as one picture; name a file that ends in .png"
        )
    else:
        labels = sampler.labels(count, index)
        z = sampler.latent(count, labels, seed, truncation)
        save_folder(sampler.images(z, labels), labels, sampler.class_names, out)
    click.echo(f"{counted(count, 'image')}: {out}")
