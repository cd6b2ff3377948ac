"""Selection, downsizing and encoding of sample grids for an HTML page."""

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

MAX_IMAGES = 48  # maximum number of images on a page; exceeded if the page has more than 24 runs

MAX_ITERATIONS = 24  # maximum number of positions of the page's slider, which selects an iteration

MAX_SIDE = 560
"""Maximum length of the longer side of an image, in pixels. Larger images are downsized."""

MAX_BYTES = 4_000_000
"""Maximum total size of the images on a page, in bytes.

Images are left out or downsized until they need at most this number of bytes. A page may exceed the maximum only if its
images already have the smallest size, the last one in `FALLBACK_SIZES`.
"""

FALLBACK_SIZES = ((2, MAX_SIDE), (2, MAX_SIDE // 2), (1, MAX_SIDE // 2), (1, MAX_SIDE // 4), (1, MAX_SIDE // 8))
"""Numbers and sizes of images for pages with many runs or large images.

Each pair is (number of iterations whose images the page shows, longer side of an image in pixels). `image_strips` uses
the first pair for which the images need at most `MAX_BYTES`.
"""

JPEG_QUALITY = 85

MAX_PNG_COLOURS = 64
"""Maximum number of colours of an image that is encoded as PNG. Images with more colours are encoded as JPEG."""


@dataclass(frozen=True)
class EncodedImage:
    """Sample grid encoded as PNG or JPEG, with its size in pixels."""

    iteration: int
    kind: str
    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """Data URI with the encoded image, for an `img` element."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class ImageStrips:
    """Sample grids of one or several runs for a page. A slider on the page selects the iteration."""

    iterations: list[int]
    """Iterations at the positions of the slider. The page shows each run's newest grid up to the selected iteration."""

    images: list[list[EncodedImage]]  # encoded images of each run, oldest first

    damaged: list[Path]  # image files that cannot be read

    num_other_z: int  # number of grids that are left out, because their z differs from the z of the run's newest grid

    same_z: bool | None
    """True if the grids of all runs use the same z in the same order. None if the z of any run is not recorded."""


def image_strips(runs: Sequence[RunRecord]) -> ImageStrips:
    """Return encoded sample grids of the runs at evenly spaced iterations.

    The number of images and their size in pixels are reduced until the images need at most `MAX_BYTES`, or until the
    last entry of `FALLBACK_SIZES` is reached.
    """
    groups = [group_by_z([run.grids[iteration] for iteration in sorted(run.grids)]) for run in runs]
    grids = [{int(path.stem): path for path in group.same_z} for group in groups]
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
    z = [group.z for group in groups if group.same_z]
    same_z = None if None in z else len(set(z)) == 1
    return ImageStrips(iterations, images, list(damaged), sum(len(group.others) for group in groups), same_z)


def sizes(runs: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (number of iterations, longer side of an image in pixels), sorted from large pages to small pages."""
    most = min(MAX_ITERATIONS, MAX_IMAGES // runs)
    while most > 2:
        yield most, MAX_SIDE
        most //= 2
    yield from FALLBACK_SIZES


def newest_until(grids: Mapping[int, Path], iterations: Sequence[int]) -> list[int]:
    """Return the iterations of a run's grids that the page shows, without duplicates.

    For each position of the slider, the page shows the newest grid up to the iteration of this position.
    """
    newest = (max((i for i in grids if i <= iteration), default=None) for iteration in iterations)
    return list(dict.fromkeys(iteration for iteration in newest if iteration is not None))


def _encode_once(
    path: Path, side: int, encoded: dict[tuple[Path, int], EncodedImage], damaged: dict[Path, None]
) -> EncodedImage | None:
    """Read and encode an image file, or return the encoded image from the cache `encoded`.

    If the file cannot be read, add it to `damaged` and return None.
    """
    if (path, side) not in encoded and path not in damaged:
        try:
            encoded[path, side] = encode(int(path.stem), read_image(path), side)
        except InputError:
            damaged[path] = None
    return encoded.get((path, side))


def encode(iteration: int, image: Image.Image, side: int = MAX_SIDE) -> EncodedImage:
    """Downsize and encode an image. Use PNG for images with few colours, such as plots, and JPEG for other images."""
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resized = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image
    kind, buffer = "jpeg" if resized.getcolors(MAX_PNG_COLOURS) is None else "png", io.BytesIO()
    resized.save(buffer, format=kind, quality=JPEG_QUALITY)
    return EncodedImage(iteration, kind, buffer.getvalue(), *size)
