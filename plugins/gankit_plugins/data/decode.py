"""One image file to one square of pixels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor

NOTE = "upright by EXIF, centre square, over white, Lanczos"
"""What `decode` does, in short."""

MOST_PIXELS = 178_956_970
"""An image of more pixels, half a GiB in colour, is refused unread: a small file can promise any size."""

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


class BadImage(Exception):
    """A file that cannot be used, and why."""


def decode(data: bytes, resolution: int, channels: Literal[1, 3]) -> Tensor:
    """(channels, resolution, resolution) uint8 from the bytes of an image file.

    The image is turned upright as its EXIF data says; the largest centred square is kept; transparent parts are
    laid over white; it is brought to size by Lanczos' filter, which on the way down averages over all pixels, so
    that nothing aliases; small images are enlarged. Sixteen bits become eight by division by 257. Grey is
    luminance by ITU-R BT.601. Of an animation, the first frame counts.

    Raises:
        BadImage: not an image that can be read, too large, or of pixels without a known range.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise BadImage(f"{width} x {height} pixels are more than the {MOST_PIXELS} that are read")
            _reduce(image, resolution, channels)
            square = _square(ImageOps.exif_transpose(image))
            pixels = _eight_bits(square, "L" if channels == 1 else "RGB")
            pixels = pixels.resize((resolution, resolution), Image.Resampling.LANCZOS)
    except Image.DecompressionBombError:
        raise BadImage(f"it has more than the {MOST_PIXELS} pixels that are read") from None
    except Image.UnidentifiedImageError:
        raise BadImage("not an image, or of a kind that cannot be read") from None
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error) as error:
        # What Pillow raises for damaged files is as varied as its formats.
        raise BadImage(" ".join(str(error).split()) or type(error).__name__) from error
    values = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
    return values.view(resolution, resolution, channels).permute(2, 0, 1)


@contextmanager
def large_images_without_warnings() -> Iterator[None]:
    """Pillow warns of images of half the size that is refused here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _reduce(image: Image.Image, resolution: int, channels: int) -> None:
    """Lets a JPEG be decoded at a half, a quarter or an eighth, with twice the pixels needed still left."""
    width, height = image.size
    scale = 2 * resolution / min(width, height)
    image.draft("L" if channels == 1 else None, (round(width * scale), round(height * scale)))


def _square(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise BadImage("its pixels are floating-point numbers, of which the range is unknown")
    if image.mode in SIXTEEN_BITS:
        # Half is added because what follows cuts off the fraction.
        return image.convert("I").convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L").convert(mode)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert(mode)
    return image.convert(mode)
