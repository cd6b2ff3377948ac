"""`gankit project`: find the z or w from which a generator draws given images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import check_output_file, device_option
from gankit.cli.video import SECONDS_PER_KEY, gif_durations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from torch import Tensor

    from gankit.sampling.projection import Encode, Projection, Projector
    from gankit.sampling.projection_path import ProjectionPath
    from gankit.sampling.sampler import Sampler

COLUMNS = 8
"""Number of images in a row of an interpolation grid, with the two projected images."""

FPS = 25
"""Frames per second of the videos."""

SHOWN_EVERY = 10
"""Number of steps between two updates of the progress bar. An update waits for the device."""


@click.command("project")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("arguments", metavar="IMAGE... [KEY=VALUE]...", nargs=-1, required=True)
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the results. Required with images."
)
@click.option(
    "--steps", default=500, show_default=True, type=click.IntRange(min=0), help="Gradient steps for each image."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed.")
@click.option("--class", "label", metavar="C", help="Class of the images, by name or number. Default: try each class.")
@click.option("--video", type=click.Choice(["gif", "mp4"]), help="Also write a video of each search.")
@click.option(
    "--interpolate",
    metavar="X",
    type=click.Path(path_type=Path),
    help="Interpolate between the images: X.png for a grid, X.gif or X.mp4 for a video.",
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    arguments: tuple[str, ...],
    out: Path | None,
    steps: int,
    seed: int,
    label: str | None,
    video: str | None,
    interpolate: Path | None,
    device: str | None,
    trust: bool,
) -> None:
    """Find the latent vectors from which the generator in FILE draws images as near as possible to each IMAGE.

    FILE is a generator.safetensors file or a run directory. IMAGE is an image file, a folder or a zip file of images.
    Images are cropped to the central square and resized. StyleGAN and StyleGAN2 are searched in w, from the mean of w.
    Other generators are searched in z, from the nearest of 256 random images. If FILE is a run with an encoder, such as
    a BiGAN, the search also starts from the encoder's z. Without --class, all classes are tried, if there are at most
    20.

    For each image, DIR gets NAME.png, with the image on the left and the result on the right, and NAME.safetensors,
    with z or w. Existing files are replaced. The command prints the mean squared error for pixels in [-1, 1] and the
    PSNR of the result, and of the nearest random image.

    IMAGE may also be a NAME.safetensors file of an earlier projection. It is used for --interpolate without a search.

    \b
    gankit project RUN cat.jpg --out projected
    gankit project RUN photos/ --out projected --video gif
    gankit project RUN projected/a.safetensors projected/b.safetensors --interpolate a-b.gif
    """
    from gankit.errors import InputError

    overrides = tuple(one for one in arguments if "=" in one and not Path(one).exists())
    paths = list(dict.fromkeys(Path(one) for one in arguments if one not in overrides))
    files = [path for path in paths if path.suffix.lower() != ".safetensors"]
    # Check these before the slow imports.
    if not paths:
        raise InputError("gankit project: name an image, after FILE")
    if out is None and files:
        raise InputError("--out DIR: is missing; name the folder for the results")

    from gankit.formatting import plural
    from gankit.images.io import save_png
    from gankit.images.video import require_ffmpeg
    from gankit.sampling.directions import weights_hash
    from gankit.sampling.generator_file import generator_file
    from gankit.sampling.projection import Projector
    from gankit.sampling.projection_file import read_projection, save_projection
    from gankit.sampling.projection_path import ProjectionPath
    from gankit.sampling.sampler import Sampler
    from gankit.storage.atomic_io import disk_errors

    if interpolate is not None:
        check_output_file("--interpolate", interpolate, ".png", ".gif", ".mp4")
    elif len(files) < len(paths):
        raise InputError(f"{next(p for p in paths if p not in files)}: is a projection already; add --interpolate")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is not a folder; choose another name")
    for option, target in (("--video", Path(f"NAME.{video}")), ("--interpolate", interpolate)):
        if target is not None and target.suffix.lower() == ".mp4":
            require_ffmpeg(option, target)
    sampler = Sampler.load(file, device or "auto", trust, overrides=overrides)
    digest = weights_hash(sampler.generator)
    used: set[str] = set()
    # Read all files before the search, so that an error is reported at once.
    targets = {
        path: [(unused_name(stem, used), image) for stem, image in read_targets(path, sampler.spec.shape)]
        for path in files
    }
    names = [name for images in targets.values() for name, _ in images]
    inputs = [generator_file(file), *files]
    suffixes = [".safetensors", ".png", *([] if video is None else [f".{video}"])]
    results = [] if out is None else [out / f"{name}{suffix}" for name in names for suffix in suffixes]
    check_replaced("--out", results, inputs)
    if interpolate is not None:
        check_replaced("--interpolate", [interpolate], [*inputs, *results])
    earlier = {path: read_projection(path, digest) for path in paths if path not in targets}
    if interpolate is not None and len(earlier) + sum(map(len, targets.values())) < 2:
        raise InputError("--interpolate: needs two or more images")
    encode = encoder_of(file, device or "auto", trust) if files else None
    projector = Projector(sampler, label, seed, encode) if files else None
    if out is not None:
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
    points = {path: [point] for path, point in earlier.items()}
    for path in files:
        assert projector is not None
        assert out is not None
        points[path] = []
        for name, image in targets[path]:
            projection = search(projector, image, steps, name)
            if video is not None:
                write_video(out / f"{name}.{video}", frames_of(sampler, projection))
            save_projection(projection, out / f"{name}.safetensors", digest, seed=seed, steps=steps, image=name)
            save_png(beside(projection.target, projection.image[None])[0], out / f"{name}.png")
            click.echo(f"{name}: {describe_projection(projection, sampler.class_names)}: {out / name}.png")
            points[path].append(projection.point)
    if interpolate is not None:
        in_order = [point for path in paths for point in points[path]]
        write_interpolation(ProjectionPath(sampler, in_order), interpolate)
        click.echo(f"interpolation of {plural(len(in_order), 'image')}: {interpolate}")


def read_targets(path: Path, shape: tuple[int, ...]) -> list[tuple[str, Tensor]]:
    """Return a name and the image (C, H, W) in [-1, 1] for each image at a path."""
    from gankit.data.user_images import source_images
    from gankit.images.grid import as_input

    images, names = source_images(path, shape)
    return list(zip(names or [f"{path.stem}-{n:06d}" for n in range(len(images))], as_input(images), strict=True))


def unused_name(stem: str, used: set[str]) -> str:
    """Return a name that is not in `used`: the stem, or the stem with a number. Add the name to `used`."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return name


def check_replaced(option: str, results: Sequence[Path], kept: Sequence[Path]) -> None:
    """Raise InputError if one of the results would replace a file in `kept`, which are files and folders."""
    from gankit.errors import InputError

    files = {file.resolve() for path in kept for file in (path.rglob("*") if path.is_dir() else [path])}
    for result in results:
        if result.resolve() in files:
            raise InputError(
                f"{option}: {result} would replace an image, the generator or another result; choose another name"
            )


def encoder_of(file: Path, device: str, trust: bool) -> Encode | None:
    """Return the encoder of a run directory, or None if FILE is a generator file or the run has no encoder."""
    from gankit.storage.run_dir import RunDir
    from gankit.training.reconstruction import encode, has_encoder, load_encoder
    from gankit.training.saved_run import recipe_of

    if not file.is_dir() or not has_encoder(recipe_of(RunDir.open(file), trust)):
        return None
    run = load_encoder(file, device, trust).run
    return lambda images: encode(run, images)


def search(projector: Projector, target: Tensor, steps: int, name: str) -> Projection:
    """Project an image, with a progress bar that shows the distance."""
    from rich.progress import MofNCompleteColumn

    from gankit.runtime.progress_bar import progress_bar

    bar = progress_bar(name, steps, MofNCompleteColumn())
    task = bar.task_ids[0]

    def show(step: int, distance: Tensor) -> None:
        if step % SHOWN_EVERY == 0 or step == steps:
            bar.update(task, completed=step, description=f"{name}, distance {distance.item():.4f}")

    with bar:
        return projector.project(target, steps, show)


def describe_projection(projection: Projection, class_names: Sequence[str]) -> str:
    """Return the errors of a projection as one line of text."""
    from gankit.sampling.projection import RANDOM_IMAGES, psnr

    def errors(error: float) -> str:
        return f"{error:.4g} ({psnr(error):.1f} dB)"

    parts = [f"mean squared error {errors(projection.error)} in {projection.point.space}"]
    if projection.point.label is not None:
        parts.append(f"class {class_names[projection.point.label]}")
    parts.append(f"nearest of {RANDOM_IMAGES} random images {errors(projection.random_error)}")
    if projection.encoder_error is not None:
        parts.append(f"encoder alone {errors(projection.encoder_error)}")
    return ", ".join(parts)


def beside(target: Tensor, images: Tensor) -> list[Image]:
    """Return a picture for each image (N, C, H, W) in [-1, 1], with the target (C, H, W) on its left."""
    import torch

    from gankit.images.grid import grid, to_bytes

    return [grid(to_bytes(torch.stack([target, image])), 2) for image in images]


def frames_of(sampler: Sampler, projection: Projection) -> list[Image]:
    """Return the frames of a video of the search: the target, and beside it the image at this point of the search."""
    import torch

    from gankit.sampling.projection import draw_points

    path, label = projection.path, projection.point.label
    condition = None if label is None else torch.full((len(path),), label)
    images = draw_points(sampler, projection.point.space, path, condition)
    frames = beside(projection.target, images)
    return frames + frames[-1:] * FPS


def write_interpolation(path: ProjectionPath, out: Path) -> None:
    """Write a grid (PNG) or a video (GIF, MP4) of the images between projected images."""
    from gankit.images.io import save_png
    from gankit.sampling.grid import sample_grid

    if out.suffix.lower() == ".png":
        save_png(sample_grid(path.rows(COLUMNS), COLUMNS), out)
        return
    count = round(FPS * SECONDS_PER_KEY * len(path.latents))
    write_video(out, [sample_grid(path.at(number / count), 1) for number in range(count)])


def write_video(out: Path, frames: Sequence[Image]) -> None:
    """Write frames as a GIF or an MP4 file."""
    from gankit.images.gif import gif
    from gankit.images.io import over_white
    from gankit.images.video import write_mp4
    from gankit.storage.atomic_io import write_parts

    opaque = map(over_white, frames)
    if out.suffix.lower() == ".gif":
        write_parts(out, gif(opaque, gif_durations(len(frames), FPS)))
    else:
        write_mp4(out, opaque, FPS)
