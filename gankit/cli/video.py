"""`gankit video`: write a video of samples whose z or w moves along a closed path."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gankit.cli.arguments import (
    AboveZero,
    check_output_file,
    condition_options,
    device_option,
    requested_by,
    sources_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS_PER_KEY = 2.0
"""Time between two key points, in seconds. A key point is a random z through which the path of z passes."""

FEWEST_KEYS = 3
"""Minimum number of key points. With two key points, the second half of the video would repeat the first in reverse."""

GIF_FPS = 50
"""Maximum number of frames per second of a GIF. Browsers slow down GIFs with shorter frames."""


@click.command("video")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--out", metavar="X.mp4", required=True, type=click.Path(path_type=Path), help="File to write: X.mp4 or X.gif."
)
@click.option("--count", default=16, show_default=True, type=click.IntRange(min=1), help="Number of images in a frame.")
@click.option(
    "--seconds",
    default=8.0,
    show_default=True,
    type=AboveZero(max=3600),
    help="Length of the video.",
)
@click.option("--fps", default=25, show_default=True, type=click.IntRange(1, 120), help="Frames per second.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed.")
@condition_options
@click.option(
    "--truncation",
    metavar="T",
    type=AboveZero(),
    help="Redraw entries of z beyond T: less variety, more typical images.",
)
@click.option(
    "--space",
    default="z",
    show_default=True,
    type=click.Choice(["z", "w"]),
    help="Space of the path. w, the space of styles, changes more evenly (StyleGAN).",
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
    seconds: float,
    fps: int,
    seed: int,
    label: str | None,
    numbers: tuple[str, ...],
    text: str | None,
    sources: Path | None,
    truncation: float | None,
    space: str,
    device: str | None,
    trust: bool,
) -> None:
    """Write a video of generated images whose z or w moves along a closed path.

    FILE is a generator.safetensors file or a run directory. Each frame is a grid of images. The z of each image moves
    through random points, in about 2 seconds from one point to the next. At the end, z returns to the first point, so
    the video can be played in a loop. The path between two points is an arc for a normal prior, and a line for other
    priors and in w.

    Discrete codes in z, such as InfoGAN's categories, do not change. The condition of each image does not change
    either. The options for the condition are the same as in `gankit sample`. With --input, the default of --count is
    the number of source images.

    MP4 files require ffmpeg: pip install 'gankit[video]'. GIF files require no other program. An existing file is
    replaced when the new file is complete.

    \b
    gankit video RUN --out walk.gif --count 9 --seconds 4
    gankit video RUN --out cats.mp4 --class cat
    gankit video RUN --out smooth.gif --space w
    """
    from rich.progress import MofNCompleteColumn

    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.gif import gif
    from gankit.images.io import over_white
    from gankit.images.video import require_ffmpeg, write_mp4
    from gankit.runtime.progress_bar import progress_bar
    from gankit.sampling.grid import draw_grid, grid_layout
    from gankit.sampling.sampler import Sampler
    from gankit.sampling.walk import key_points, loop_position, to_styles
    from gankit.storage.atomic_io import write_parts

    check_output_file("--out", out, ".mp4", ".gif")
    as_gif = out.suffix.lower() == ".gif"
    if as_gif and fps > GIF_FPS:
        raise InputError(f"--fps {fps}: a GIF has at most {GIF_FPS} frames per second; choose fewer, or an MP4 file")
    if not as_gif:
        require_ffmpeg("--out", out)
    frames = max(1, round(seconds * fps))
    sampler = Sampler.load(file, device or "auto", trust, overrides=overrides)
    given = None if sources is None else sources_of(sampler, sources)[0]
    if given is not None and context.get_parameter_source("count") is ParameterSource.DEFAULT:
        count = len(given)
    layout = grid_layout(sampler, count, requested_by(label, numbers, text), seed, given)
    keys = max(FEWEST_KEYS, round(seconds / SECONDS_PER_KEY))
    points = key_points(sampler, layout.condition, layout.total, keys, seed, truncation)
    spherical = sampler.spherical_prior and space == "z"
    if space == "w":
        sampler, points = to_styles(sampler, points, layout.condition)
    bar = progress_bar("drawing", frames, MofNCompleteColumn())

    def drawn() -> Iterator[Image]:
        for number in range(frames):
            z = loop_position(points, number / frames, spherical)
            yield over_white(draw_grid(sampler, z, layout))
            bar.advance(bar.task_ids[0])

    with bar:
        if as_gif:
            write_parts(out, gif(drawn(), gif_durations(frames, fps)))
        else:
            write_mp4(out, drawn(), fps)
    click.echo(f"{plural(frames, 'frame')} of {plural(layout.total, 'image')}: {out}")


def gif_durations(frames: int, fps: int) -> list[float]:
    """Return the duration of each frame in seconds, as a multiple of 0.01 (the time unit of GIF files).

    The sum of the durations is `frames / fps`, rounded to a multiple of 0.01.
    """
    ends = [round(100 * number / fps) for number in range(frames + 1)]
    return [(end - start) / 100 for start, end in pairwise(ends)]
