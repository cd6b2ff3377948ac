"""Pictures in files. Looking at some needs no torch, and here is none."""

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
"""What is read, whatever a file is called. Pillow knows formats that run programs, or have had few eyes on them."""


def save_png(drawn: Image.Image, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes a PNG, with notes in it, beside its place and renames it into it."""
    buffer, texts = io.BytesIO(), PngInfo()
    for name, text in (notes or {}).items():
        texts.add_text(name, text)
    drawn.save(buffer, format="PNG", pnginfo=texts)
    write_bytes(path, buffer.getvalue())


def read_image(path: Path) -> Image.Image:
    """A picture file, in grey (`L`) or colour (`RGB`); of an animation, the first frame.

    Raises InputError when it is missing, damaged, or no picture.
    """
    with _opened(path) as picture:
        return picture.convert("L" if picture.mode == "L" else "RGB")


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, of which a file's first bytes speak.

    Raises InputError when it is missing, damaged there, or no picture.
    """
    with _opened(path) as picture:
        return picture.size


def is_whole(path: Path) -> bool:
    """Whether a picture can be read to its end."""
    try:
        read_image(path)
    except InputError:
        return False
    return True


def read_note(path: Path, name: str) -> str | None:
    """What `save_png` noted in a picture under a name; None where there is no such note.

    Raises InputError when it is missing, damaged at its beginning, or no picture.
    """
    with _opened(path) as picture:
        note = picture.info.get(name)
        return note if isinstance(note, str) else None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            yield picture
    except FileNotFoundError:
        raise InputError(f"there is no picture {path}") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path} is no picture, or of a kind that is not read here") from None
    except Exception as error:  # what Pillow raises for damaged files is as varied as its formats
        raise InputError(f"{path} cannot be read; it may be damaged ({' '.join(str(error).split())})") from error
