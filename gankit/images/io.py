"""Reading and writing of image files. This module does not import torch."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gankit.errors import InputError
from gankit.storage.atomic_io import write_bytes

FORMATS = ("PNG", "GIF", "JPEG", "BMP")
"""Image formats that gankit reads. The format is detected from the content of a file, not from its suffix.

Pillow can read other formats, but some need external programs (Ghostscript for EPS), and others are not well tested.
"""


def png_bytes(image: Image.Image, notes: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a PNG file. `notes` are stored by name in the PNG text metadata."""
    buffer, texts = io.BytesIO(), PngInfo()
    for name, text in (notes or {}).items():
        texts.add_text(name, text)
    image.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def save_png(image: Image.Image, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a PNG file atomically. `notes` are stored by name in the PNG text metadata."""
    write_bytes(path, png_bytes(image, notes))


def read_image(path: Path) -> Image.Image:
    """Return the image in a file, in grey (`L`) or colour (`RGB`). Transparent areas become white.

    For an animation, return its first frame.

    Raises:
        InputError: the file is missing, damaged or not an image.
    """
    with _opened(path) as image:
        return over_white(image)


def over_white(image: Image.Image) -> Image.Image:
    """Return an image in grey (`L`) or colour (`RGB`). Transparent areas become white."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")
    return image.convert("L" if image.mode == "L" else "RGB")


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image, in pixels. Only the start of the file is read."""
    with _opened(path) as image:
        return image.size


def is_whole(path: Path) -> bool:
    """Return True if an image file is complete and undamaged."""
    try:
        read_image(path)
    except InputError:
        return False
    return True


def read_note(path: Path, name: str) -> str | None:
    """Return the note `name` that `save_png` wrote to an image file, or None if the file has no such note.

    Only the start of the file is read.
    """
    with _opened(path) as image:
        note = image.info.get(name)
        return note if isinstance(note, str) else None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise InputError(f"there is no image {path}") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path} is not an image of a supported format: {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow raises exceptions of many types for damaged files.
        raise InputError(f"{path} cannot be read; it may be damaged ({' '.join(str(error).split())})") from error
