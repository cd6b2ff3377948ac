"""An image file to a square of pixels. Imports no torch: the processes that do nothing else start at once."""

from __future__ import annotations

import io
from functools import cache
from typing import Literal

from PIL import Image, ImageOps

NOTE = "upright by EXIF, centre square, over white, Lanczos"
"""What `decode` does, in short."""

MOST_PIXELS = 178_956_970
"""An image of more, half a GiB in colour, is refused unread: a small file can promise any size."""

MOST_BYTES = 1 << 30
"""A file that is larger, or unpacks to more, is refused unread."""

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


READERS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Pillow's names of the formats that are read, whatever a file is called. It knows others that run programs (EPS
runs Ghostscript) or have had few eyes on them."""


class ImageError(Exception):
    """Why a file cannot be used."""


def refuse_large(size: int) -> None:
    """Raises ImageError when a file has more bytes than are read."""
    if size > MOST_BYTES:
        raise ImageError(f"{size} bytes are more than the {MOST_BYTES} that are read")


def decode(data: bytes, resolution: int, channels: Literal[1, 3]) -> bytes:
    """(channels, resolution, resolution) bytes from those of an image file.

    The image is turned upright as its EXIF data says; the largest centred square is kept; transparent parts are
    laid over white; it is brought to size by Lanczos' filter, which on the way down averages over all pixels, so
    that nothing aliases; small images are enlarged. Sixteen bits become eight by division by 257. Grey is
    luminance by ITU-R BT.601. Of an animation, the first frame counts.

    Raises:
        ImageError: not an image that can be read, too large, or of pixels without a known range.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_readers()) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ImageError(_too_large(f"{width} x {height}"))
            _reduce(image, resolution, channels)
            square = _square(ImageOps.exif_transpose(image))
            pixels = _eight_bits(square, "L" if channels == 1 else "RGB")
            pixels = pixels.resize((resolution, resolution), Image.Resampling.LANCZOS)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(_too_large("its")) from None
    except Image.UnidentifiedImageError:
        raise ImageError("not an image, or of a kind that cannot be read") from None
    except Exception as error:  # what Pillow raises for damaged files is as varied as its formats
        raise ImageError(" ".join(str(error).split()) or type(error).__name__) from error
    return b"".join(band.tobytes() for band in pixels.split())


@cache
def _readers() -> list[str]:
    """Those of READERS that this build of Pillow has."""
    Image.init()
    return [name for name in READERS if name in Image.OPEN]


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
        raise ImageError("its pixels are floating-point numbers, of which the range is unknown")
    if image.mode in SIXTEEN_BITS:
        # Half is added because the conversion that follows cuts off the fraction.
        return image.convert("I").convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L").convert(mode)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert(mode)
    if image.mode == "LAB":  # which Pillow turns into colour only
        image = image.convert("RGB")
    return image.convert(mode)


def _too_large(size: str) -> str:
    return f"{size} pixels are more than the {MOST_PIXELS} that are read"
