"""Where the files of a collection of images lie: in a folder, or in a zip file that is read in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from gankit import InputError

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .jp2 .avif".split()
)
"""Of the files that are taken for images, in small letters. All others are ignored."""

LARGEST_FILE = 1 << 30
"""Bytes. A file that unpacks to more is no image but an attack, or a mistake."""


class Shelf(Protocol):
    """A folder or a zip file."""

    def names(self) -> list[PurePosixPath]:
        """Of all image files, from the top, in order; hidden ones are left out."""
        ...

    def read(self, name: PurePosixPath) -> bytes:
        """A file's bytes, from any thread. Raises OSError, ValueError or zipfile's errors."""
        ...

    def size(self, name: PurePosixPath) -> int:
        """A file's size in bytes."""
        ...


@dataclass(frozen=True)
class Folder:
    path: Path

    def names(self) -> list[PurePosixPath]:
        return sorted(self._below(self.path, PurePosixPath(), ()))

    def read(self, name: PurePosixPath) -> bytes:
        return (self.path / name).read_bytes()

    def size(self, name: PurePosixPath) -> int:
        return (self.path / name).stat().st_size

    def _below(self, folder: Path, at: PurePosixPath, above: tuple[str, ...]) -> Iterator[PurePosixPath]:
        real = os.path.realpath(folder)
        if real in above:  # a link that leads back
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from self._below(Path(entry.path), at / entry.name, (*above, real))
                elif is_image(entry.name) and entry.is_file():
                    yield at / entry.name


class Zip:
    """A zip file. A single folder that holds all the rest, as most archives have, is looked through.

    Args:
        archive: opened to read.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        visible = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
        self.entries = {PurePosixPath(info.filename): info for info in visible if is_image(info.filename)}
        if len({name.parts[0] for name in self.entries if len(name.parts) > 1}) == 1 and not any(
            len(name.parts) == 1 for name in self.entries
        ):
            self.entries = {PurePosixPath(*name.parts[1:]): info for name, info in self.entries.items()}

    def names(self) -> list[PurePosixPath]:
        return sorted(self.entries)

    def read(self, name: PurePosixPath) -> bytes:
        return self.archive.read(self.entries[name])

    def size(self, name: PurePosixPath) -> int:
        return self.entries[name].file_size


@contextmanager
def opened(path: Path) -> Iterator[Shelf]:
    """The folder or the zip file at a path.

    Raises InputError when it is neither, or cannot be read.
    """
    try:
        if path.is_dir():
            yield Folder(path)
            return
        with zipfile.ZipFile(path) as archive:
            yield Zip(archive)
    except FileNotFoundError:
        raise InputError(f"path: there is no {path}") from None
    except zipfile.BadZipFile as error:
        raise InputError(
            f"path: {path} is neither a folder, nor a zip file, nor one that `gankit prepare` wrote ({error})"
        ) from None
    except OSError as error:
        raise InputError(f"path: {error.filename or path} cannot be read: {error.strerror or error}") from error


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


@dataclass(frozen=True)
class Listing:
    """Image files and their classes."""

    files: list[PurePosixPath]
    labels: list[int] | None
    """An index into `class_names` for each file; None when there are no classes."""

    class_names: tuple[str, ...]


def listing(names: list[PurePosixPath], classes: bool | None, path: Path) -> Listing:
    """Sorts files into classes: what lies in one folder of the top, however deep, is of one class.

    Args:
        names: of the files, from the top, in order.
        classes: whether there are any; None if that is to be seen from the folders.
        path: where they are, for the complaint.

    Raises:
        InputError: no files, or some lie in folders and some beside them.
    """
    if not names:
        raise InputError(f"path: there is no image in {path}; files are taken for images by their ending (.png, .jpg, ...)")
    loose = [name for name in names if len(name.parts) == 1]
    if classes is False or (classes is None and len(loose) == len(names)):
        return Listing(names, None, ())
    if loose:
        others = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
        raise InputError(
            f"path: {path} should have one folder for each class, but {loose[0]}{others} lies in none; move what lies "
            f"loose, or set `classes = false` to take everything as one"
        )
    class_names = sorted({name.parts[0] for name in names})
    number = {name: index for index, name in enumerate(class_names)}
    return Listing(names, [number[name.parts[0]] for name in names], tuple(class_names))
