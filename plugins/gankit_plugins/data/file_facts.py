"""Facts about image files: size, mode, and whether they can be used."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from PIL import Image

from gankit import FileFacts
from gankit_plugins.data.brightness import MAXIMUM, SIXTEEN_BITS, ImageError
from gankit_plugins.data.decode import ImageFile, check_size, decode
from gankit_plugins.data.folder import Files
from gankit_plugins.data.listing import Listing

PROBE = (16, 16)
"""Height and width, in pixels, to which images are decoded, to find damaged files."""

BATCH = 64
"""Number of files that are open at the same time."""


def inspect_files(files: Files, listing: Listing) -> Iterator[FileFacts]:
    """Yield facts about each image file. Several threads decode the files."""
    with ThreadPoolExecutor(os.cpu_count()) as threads, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        names = files.names()
        while batch := list(islice(names, BATCH)):
            contents = [_opened(files, name) for name in batch]
            classes = [listing.class_of(name) if listing.class_names else None for name in batch]
            yield from threads.map(facts_of, batch, contents, classes)


def _opened(files: Files, name: str) -> ImageFile | ImageError:
    try:
        file = files.open(name)
    except ImageError as error:
        return error
    assert not isinstance(file, tuple), "clips have no file facts"
    return file


def facts_of(name: str, file: ImageFile | ImageError, class_name: str | None) -> FileFacts:
    """Return facts about an image file, given its path, its content, or the error that occurred when it was opened."""
    content = b""
    try:
        if isinstance(file, ImageError):
            raise file
        if isinstance(file, str):
            check_size(os.stat(file).st_size)
        content = Path(file).read_bytes() if isinstance(file, str) else file
        # Decode the image as `images` does, so that the errors are the same.
        decoded = decode(content, PROBE, 3)
        with Image.open(io.BytesIO(content)) as image:
            size, mode, transparent = image.size, image.mode, image.has_transparency_data
            highest = highest_value(image, content) if mode in SIXTEEN_BITS else None
    except (ImageError, OSError) as error:
        return FileFacts(name, hashlib.sha256(content or name.encode()).digest(), class_name, error=str(error))
    third = len(decoded.pixels) // 3
    grey = decoded.pixels[:third] == decoded.pixels[third : 2 * third] == decoded.pixels[2 * third :]
    digest = hashlib.sha256(content).digest()
    return FileFacts(name, digest, class_name, size, mode, grey, transparent, highest)


def highest_value(image: Image.Image, content: bytes) -> int | None:
    """Return the largest value of a 16-bit grey image, or None if it cannot be used with the setting `value_range`."""
    try:
        decode(content, PROBE, 1, limits=(0, MAXIMUM))
    except ImageError:
        return None
    return int(image.convert("I").getextrema()[1])  # type: ignore[arg-type]
