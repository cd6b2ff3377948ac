"""Reading of images from paths that a user gives.

A path is an image file, a folder, a zip file, or a file written by `gankit prepare`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from gankit.data.load import load_dataset
from gankit.errors import InputError, recipe_errors
from gankit.formatting import plural

WHOLE = (".zip", ".safetensors")
"""Extensions of files that contain several images."""


class SourceImages(NamedTuple):
    """Source images, which an image-to-image generator takes as input, and a name for each image."""

    images: Tensor
    names: list[str]
    """Name of each image, made from the path of its file.

    Empty if the images are in a zip file or in a file written by `gankit prepare`.
    """


def source_images(path: Path, shape: tuple[int, ...]) -> SourceImages:
    """Return the source images at a path, which are inputs of an image-to-image generator.

    The path is an image file, a folder with subfolders, a zip file or a file written by `gankit prepare`. The images of
    a folder are in the order of their paths.

    Raises:
        InputError: the path does not exist, is not readable, or has no images of the given shape.
    """
    if not path.is_dir():
        return SourceImages(user_images([path], shape), [] if path.suffix.lower() in WHOLE else [path.stem])
    files = image_files(path)
    if not files:
        raise InputError(f"{path}: has no images")
    names = ["_".join(file.relative_to(path).with_suffix("").parts) for file in files]
    return SourceImages(user_images(files, shape), names)


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, in the order of their paths. Hidden files are left out."""
    suffixes = Image.registered_extensions()
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in suffixes and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def resized_images(path: Path, shape: tuple[int, ...]) -> str | None:
    """Return a sentence about the images in a file or folder that `source_images` resizes, or None if there are none.

    For zip files and prepared files, the result is None, because the sizes are not read.
    """
    if path.suffix.lower() in WHOLE and not path.is_dir():
        return None
    files = image_files(path) if path.is_dir() else [path]
    height, width = shape[1:]
    others = sum(image_size(file) != (width, height) for file in files)
    if not others:
        return None
    return (
        f"{path}: images of another size than {height}x{width} (height x width): {others} of {len(files)}; they are "
        "cropped to a centred rectangle of this shape and resized"
    )


def image_size(file: Path) -> tuple[int, int]:
    """Return the width and height of the image in a file. Only the header of the file is read."""
    with Image.open(file) as image:
        return image.size


def user_images(sources: Sequence[Path], shape: tuple[int, ...]) -> Tensor:
    """Return images of the given shape, (N, *shape).

    `sources` are image files, or one folder, zip file or file written by `gankit prepare`.

    Raises:
        InputError: a source does not exist, is not readable, or has images of another shape.
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        if len(sources) > 1 and source.is_dir():
            raise InputError(f"{source}: is a folder; name either one folder or image files")
    if len(sources) == 1 and (sources[0].is_dir() or sources[0].suffix.lower() in WHOLE):
        images, _ = read_images(sources[0], shape)
    else:
        images = read_files(sources, shape)
    if images.shape[1:] != shape:
        have, need = ("x".join(map(str, one)) for one in (images.shape[1:], shape))
        raise InputError(f"{sources[0]}: the images are {have}, and images of {need} are needed; name other images")
    return images


def read_images(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, str]:
    """Return the images at a path, and a note about their processing.

    The path is a folder, a zip file or a file written by `gankit prepare`. In the last case, the images are not
    resized. Otherwise, they are converted to the number of channels and the resolution of `shape`.
    """
    table = {"use": "images", "path": str(path.absolute()), "classes": False}
    if path.suffix != ".safetensors":
        if len(shape) != 3:
            raise InputError(
                f"{path}: has images, and a sample of the data has shape {'x'.join(map(str, shape))}; name a prepared "
                "file of such samples"
            )
        channels, *size = shape
        table |= {"resolution": size, "channels": channels}
    dataset = load_dataset(table, str(path))
    with recipe_errors(str(path), "data"):
        return dataset.read().images, dataset.note


def read_files(files: Sequence[Path], shape: tuple[int, ...]) -> Tensor:
    """Return the images in `files`, in the same order, converted to the number of channels and the size of `shape`."""
    with TemporaryDirectory(prefix="gankit-") as folder:
        # The data plugin `images` reads a folder in the order of the file names. Begin each name with a number, so that
        # this order is the order of `files`.
        for number, file in enumerate(files):
            shutil.copy(file, Path(folder) / f"{number:06d}-{file.name}")
        try:
            images, _ = read_images(Path(folder), shape)
        except InputError as error:
            # Raise a new error, because the message of the original error names the temporary folder.
            raise InputError(f"{', '.join(map(str, files[:3]))}: cannot be used as images; name others") from error
    if len(images) < len(files):
        raise InputError(f"{plural(len(files) - len(images), 'file')} of {len(files)} cannot be used; leave them out")
    return images
