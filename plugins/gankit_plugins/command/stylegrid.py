"""Command `gankit stylegrid`: a grid of images with the coarse styles of one image and the fine styles of another."""

from __future__ import annotations

import io
from pathlib import Path

import click
import torch
from torch import Tensor

from gankit import InputError, Plugin, Sampler, hookimpl, sample_grid, write_bytes
from gankit_plugins.layers.style_generator import StyleGenerator, require_style_generator


def combined_images(generator: StyleGenerator, ws: Tensor, rows: int, coarse: int) -> Tensor:
    """Return the images of a style-mixing grid, row by row, ((1 + rows) * (1 + columns), C, H, W), on the CPU.

    The first row shows one source image for each column, and the first column shows one source image for each row. The
    image in the corner is white. All other images are mixed. They use the style vector w of their row in the first
    `coarse` layers, and the w of their column in the other layers.

    Args:
        generator: generator, in evaluation mode.
        ws: w of each source image in each of L layers, (rows + columns, L, W). The images of the rows come first.
        rows: number of source images for the rows.
        coarse: number of layers that use the w of the row.
    """
    of_rows, of_columns = ws[:rows], ws[rows:]
    top = generator.synthesis(of_columns).float().cpu()
    images = [torch.ones_like(top[:1]), top]
    for w in of_rows:
        mixed = torch.cat([w[:coarse].expand(len(of_columns), -1, -1), of_columns[:, coarse:]], dim=1)
        images.append(generator.synthesis(torch.cat([w[None], mixed])).float().cpu())
    return torch.cat(images)


@click.command("stylegrid")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--out", metavar="X.png", required=True, type=click.Path(path_type=Path), help="File for the grid.")
@click.option("--rows", default=5, show_default=True, type=click.IntRange(min=1), help="Images with coarse styles.")
@click.option("--columns", default=6, show_default=True, type=click.IntRange(min=1), help="Images with fine styles.")
@click.option(
    "--coarse",
    metavar="N",
    default=4,
    show_default=True,
    type=click.IntRange(min=1),
    help="Layers with the style of the row. Two layers are at 4x4, and two at each further size.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed.")
@click.option("--class", "label", metavar="C", help="Draw only this class, given by name or number.")
@click.option("--device", metavar="D", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    out: Path,
    rows: int,
    columns: int,
    coarse: int,
    seed: int,
    label: str | None,
    device: str,
    trust: bool,
) -> None:
    """Draw a style-mixing grid with the generator in FILE, a generator.safetensors file or a run directory.

    Each image has the coarse styles of the first image in its row, and the fine styles of the first image in its
    column. If the generator has classes, the images cycle through them. KEY=VALUE changes a setting of the generator,
    such as the truncation psi.

    \b
    gankit stylegrid RUN --out grid.png
    gankit stylegrid RUN --out grid.png --coarse 6 generator.psi=0.7
    """
    if out.suffix.lower() != ".png" or out.is_dir():
        raise InputError(f"--out {out}: choose the name of a file that ends in .png")
    sampler = Sampler.load(file, device, trust, overrides=overrides)
    generator = require_style_generator(sampler.generator, "gankit stylegrid")
    if coarse >= generator.synthesis.layers:
        raise InputError(
            f"--coarse {coarse}: leaves no layer for the styles of the columns; give 1 to "
            f"{generator.synthesis.layers - 1}"
        )
    condition = sampler.conditions(rows + columns, {} if label is None else {"class": label}, seed)
    z = sampler.latent(rows + columns, condition, seed).to(sampler.device)
    # Make the noise that the generator adds reproducible.
    torch.manual_seed(seed)
    with torch.no_grad():
        ws = generator.styles(z, None if condition is None else condition.to(sampler.device))
        images = combined_images(generator, ws, rows, coarse)
    data = io.BytesIO()
    sample_grid(images, columns + 1).save(data, "PNG")
    write_bytes(out, data.getvalue())
    click.echo(f"{rows} x {columns} mixed images: {out}")


class StyleGrid(Plugin):
    """Command `gankit stylegrid`: images with the coarse styles of one image and the fine styles of another.

    The grid shows which layers control which properties. The first layers control pose and shape, and the last layers
    control colours and texture. If the generator has classes, the images cycle through them.

    Source: Karras 2018, section 3.1 and figure 3.

    When to use: with a generator that has a mapping network, such as `stylegan2`, trained with `style_mixing`.
    When not: with other generators, which have no styles.
    """

    name = "stylegrid"
    kind = "command"

    @hookimpl
    def register_commands(self, cli: click.Group) -> None:
        cli.add_command(command)
