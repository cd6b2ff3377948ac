"""Sample grids for a page, downsized and limited in number and size, to be embedded as data URIs."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gankit.errors import InputError
from gankit.images.gif import spread
from gankit.images.grid_metadata import group_by_z
from gankit.images.io import read_image
from gankit.report.run_record import RunRecord

MAX_IMAGES = 48  # most images of a page, for all its runs together

MAX_ITERATIONS = 24  # most positions of the slider

MAX_SIDE = 560
"""Longest side of an image in pixels. Larger grids are downsized."""

MAX_BYTES = 4_000_000
"""Maximum size of all images of a page. Above it, the page has fewer images, and then smaller ones."""

FALLBACK_SIZES = ((2, MAX_SIDE), (2, MAX_SIDE // 2), (1, MAX_SIDE // 2), (1, MAX_SIDE // 4), (1, MAX_SIDE // 8))
"""Numbers of iterations and longest sides for pages of many runs, from large to small."""

JPEG_QUALITY = 85

MAX_PNG_COLOURS = 64
"""Most colours of an image that is saved as PNG. Images with more are saved as JPEG."""


@dataclass(frozen=True)
class EncodedImage:
    """An encoded sample grid, with its size in pixels."""

    iteration: int
    kind: str
    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """Data URI of the image."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class ImageStrips:
    """Sample grids of several runs at the same iterations."""

    iterations: list[int]
    """Positions of the slider. For each run, the newest grid up to that iteration is shown."""

    images: list[list[EncodedImage]]  # images of each run, oldest first

    damaged: list[Path]  # files that cannot be read

    num_other_z: int  # number of grids that are left out because they show other z than the newest grid of their run

    same_z: bool | None
    """True if all images show the same z in the same places. None if it is not recorded."""


def image_strips(runs: Sequence[RunRecord]) -> ImageStrips:
    """Return the grids of the runs, evenly spaced over the iterations, as many and as large as the limits allow."""
    groups = [group_by_z([run.grids[iteration] for iteration in sorted(run.grids)]) for run in runs]
    grids = [{int(path.stem): path for path in group.alike} for group in groups]
    every = sorted({iteration for own in grids for iteration in own})
    damaged = dict.fromkeys(path for group in groups for path in group.damaged)
    encoded: dict[tuple[Path, int], EncodedImage] = {}
    for most, side in sizes(len(runs)):
        iterations = spread(every, most) if most > 1 else every[-1:]
        images = [
            [image for i in newest_until(own, iterations) if (image := _encode_once(own[i], side, encoded, damaged))]
            for own in grids
        ]
        if sum(len(image.data) for own in images for image in own) <= MAX_BYTES:
            break
    z = [group.z for group in groups if group.alike]
    same_z = None if None in z else len(set(z)) == 1
    return ImageStrips(iterations, images, list(damaged), sum(len(group.others) for group in groups), same_z)


def sizes(runs: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (number of iterations, longest side in pixels), from the largest page to the smallest."""
    most = min(MAX_ITERATIONS, MAX_IMAGES // runs)
    while most > 2:
        yield most, MAX_SIDE
        most //= 2
    yield from FALLBACK_SIZES


def newest_until(grids: Mapping[int, Path], iterations: Sequence[int]) -> list[int]:
    """Return the iteration of the newest grid up to each of `iterations`, without repetitions."""
    newest = (max((i for i in grids if i <= iteration), default=None) for iteration in iterations)
    return list(dict.fromkeys(iteration for iteration in newest if iteration is not None))


def _encode_once(
    path: Path, side: int, encoded: dict[tuple[Path, int], EncodedImage], damaged: dict[Path, None]
) -> EncodedImage | None:
    """Return an encoded image, using the cache `encoded`. A file that cannot be read is added to `damaged`."""
    if (path, side) not in encoded and path not in damaged:
        try:
            encoded[path, side] = encode(int(path.stem), read_image(path), side)
        except InputError:
            damaged[path] = None
    return encoded.get((path, side))


def encode(iteration: int, image: Image.Image, side: int = MAX_SIDE) -> EncodedImage:
    """Downsize an image and encode it: plots with few colours as PNG, all others as JPEG."""
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resized = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image
    kind, buffer = "jpeg" if resized.getcolors(MAX_PNG_COLOURS) is None else "png", io.BytesIO()
    resized.save(buffer, format=kind, quality=JPEG_QUALITY)
    return EncodedImage(iteration, kind, buffer.getvalue(), *size)
