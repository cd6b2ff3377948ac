"""Conversion of an image file to a square of pixels, and the worker processes that do it.

Imports no torch, so that the worker processes start fast.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

NOTE = "upright by EXIF, centre square, over white, Lanczos"
"""Short description of what `decode` does."""

MAX_PIXELS = 178_956_970
"""Largest accepted image, half a GiB in colour. A small file can declare any size."""

MAX_BYTES = 1 << 30
"""Largest accepted file, unpacked."""

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's names of the modes with 16 bits per pixel."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Pillow's names of the accepted formats. Pillow reads others that run programs (EPS runs Ghostscript) or are little
tested."""

ImageFile = str | bytes
"""The path of an image file, or its content."""


class ImageError(Exception):
    """Image file that cannot be used."""


def check_size(size: int) -> None:
    """Raise `ImageError` for a file that is too large, in bytes."""
    if size > MAX_BYTES:
        raise ImageError(f"the file has {size} bytes; at most {MAX_BYTES} are read")


def decode(data: bytes, resolution: int, channels: Literal[1, 3]) -> bytes:
    """Return (channels, resolution, resolution) bytes from the content of an image file.

    The image is rotated as its EXIF data says. The largest centred square is cropped. Transparent parts are put on
    white. The square is resized by the Lanczos filter, which averages over all pixels when it shrinks an image, so
    that nothing aliases. Small images are enlarged. 16 bits become 8 by division by 257. Grey is the luminance by
    ITU-R BT.601. The first frame of an animation is used.

    Raises:
        ImageError: the file is not an image, is damaged or too large, or the range of its pixels is unknown.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"the image has {width} x {height} pixels; at most {MAX_PIXELS} are read")
            # A JPEG is decoded at a half, a quarter or an eighth of its size, at twice the required size or more.
            scale = 2 * resolution / min(width, height)
            image.draft("L" if channels == 1 else None, (round(width * scale), round(height * scale)))
            upright = ImageOps.exif_transpose(image)
            width, height = upright.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            square = upright.crop((left, top, left + side, top + side))
            pixels = _eight_bits(square, "L" if channels == 1 else "RGB")
            pixels = pixels.resize((resolution, resolution), Image.Resampling.LANCZOS)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"the image is too large; at most {MAX_PIXELS} pixels are read") from None
    except Image.UnidentifiedImageError:
        raise ImageError("not an image, or not of a supported format") from None
    except Exception as error:  # Pillow raises many types of exceptions for damaged files
        raise ImageError(" ".join(str(error).split()) or type(error).__name__) from error
    return b"".join(band.tobytes() for band in pixels.split())


@cache
def _formats() -> list[str]:
    """Return the accepted formats that this build of Pillow supports."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ImageError("the pixels are floating-point numbers of an unknown range")
    if image.mode in SIXTEEN_BITS:
        # The conversion to L drops the fraction, so a half is added to round.
        return image.convert("I").convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L").convert(mode)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(mode)
    if image.mode == "LAB":  # Pillow converts it to RGB only
        image = image.convert("RGB")
    return image.convert(mode)


# The functions below run in worker processes.

_stop = ctypes.c_bool(False)
"""Flag in shared memory that is set when the results are no longer needed."""


def start_worker(stop: ctypes.c_bool) -> None:
    """Initialise a worker process that shares the flag `stop` with its parent."""
    global _stop
    _stop = stop
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this process when its parent has died. An idle worker of a ProcessPoolExecutor would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in worker processes only"
    parent.join()
    os._exit(1)


def decode_batch(
    files: Sequence[ImageFile | ImageError], resolution: int, channels: Literal[1, 3]
) -> list[bytes | ImageError]:
    """Return the pixels of each file, as `decode` does, or the reason why it cannot be used."""
    with warnings.catch_warnings():
        # Pillow warns about images of half the refused size, and about unusual EXIF data.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return [_decode_or_error(file, resolution, channels) for file in files]


def _decode_or_error(file: ImageFile | ImageError, resolution: int, channels: Literal[1, 3]) -> bytes | ImageError:
    if isinstance(file, ImageError):
        return file
    try:
        if _stop.value:
            raise ImageError("cancelled")
        if isinstance(file, str):
            check_size(os.stat(file).st_size)
            file = Path(file).read_bytes()
        return decode(file, resolution, channels)
    except (ImageError, OSError) as error:
        # Its cause may not be picklable.
        return ImageError(str(error))
