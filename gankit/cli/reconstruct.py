"""`gankit reconstruct`: encode images to z with the encoder of a run, and generate images from this z."""

from pathlib import Path

import click

from gankit.cli.arguments import check_output_file, device_option

PAIRS_PER_ROW = 8


@click.command("reconstruct")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("images", metavar="[IMAGES]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="X.png",
    type=click.Path(path_type=Path),
    help="File to write. Default: reconstructions.png in RUN.",
)
@click.option(
    "--count", default=32, show_default=True, type=click.IntRange(min=1), help="Maximum number of images to draw."
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that the recipe of RUN names.")
def command(run: Path, images: tuple[Path, ...], out: Path | None, count: int, device: str | None, trust: bool) -> None:
    """Encode images to z, generate images from this z, and draw each image beside its reconstruction.

    RUN is the directory of a run with an encoder, such as a BiGAN. IMAGES are image files, or one folder, zip file or
    file written by `gankit prepare`. These images are cropped and resized to the size of the run's images. Without
    IMAGES, the command uses images of the run's dataset. If there are more than --count images, the command uses
    --count evenly spaced images.

    The command prints the mean squared error between the images and their reconstructions, for pixels in [-1, 1].

    \b
    gankit reconstruct RUN
    gankit reconstruct RUN photos/ --out pairs.png --count 64
    """
    import torch

    from gankit.formatting import plural
    from gankit.images.grid import grid
    from gankit.images.io import save_png
    from gankit.training.reconstruction import reconstruct

    out = run / "reconstructions.png" if out is None else out
    check_output_file("--out", out, ".png")
    result = reconstruct(run, images, count, device or "auto", trust)
    pairs = torch.stack([result.originals, result.reconstructions], 1).flatten(0, 1)
    save_png(grid(pairs, 2 * min(PAIRS_PER_ROW, len(result.originals))), out)
    click.echo(
        f"{plural(len(result.originals), 'image')} at iteration {result.iteration}, "
        f"mean squared error {result.error:.4g}: {out}"
    )
