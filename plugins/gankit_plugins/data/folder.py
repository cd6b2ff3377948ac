"""Where the files of a collection of images lie: in a folder, or in a zip file that is read in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gankit import InputError

FORMATS = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 avif"
"""The endings of the files that are taken for images, in small letters. All others are ignored."""

SUFFIXES = tuple(f".{ending}" for ending in FORMATS.split())


class Shelf(Protocol):
    """A folder or a zip file. Its image files go by their path from the top, with slashes, on every system."""

    def names(self) -> list[str]:
        """All image files, in order, hidden ones left out."""
        ...

    def size(self, name: str) -> int:
        """A file's size in bytes, from any thread."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes, from any thread."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder with all that is below it; links are followed."""

    path: Path

    def names(self) -> list[str]:
        return sorted(self._below(self.path, "", ()))

    def size(self, name: str) -> int:
        return os.stat(self.path / name).st_size

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def _below(self, folder: Path, at: str, above: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in above:  # a link that leads back up
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from self._below(Path(entry.path), f"{at}{entry.name}/", (*above, real))
                elif is_image(entry.name) and entry.is_file():
                    yield at + entry.name


class Zip:
    """A zip file. A single folder that holds all the rest, as in most archives, is looked through.

    Args:
        archive: opened to read.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.entries = {
            info.filename: info for info in archive.infolist() if is_image(info.filename) and not _hidden(info.filename)
        }
        tops = {name.partition("/")[0] for name in self.entries if "/" in name}
        if len(tops) == 1 and all("/" in name for name in self.entries):
            self.entries = {name.partition("/")[2]: info for name, info in self.entries.items()}

    def names(self) -> list[str]:
        return sorted(self.entries)

    def size(self, name: str) -> int:
        return self.entries[name].file_size

    def read(self, name: str) -> bytes:
        return self.archive.read(self.entries[name])


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
    except FileNotFoundError as error:
        raise InputError(f"path: there is no {error.filename or path}") from None
    except zipfile.BadZipFile as error:
        raise InputError(
            f"path: {path} is neither a folder, nor a zip file, nor one that `gankit prepare` wrote ({error})"
        ) from None
    except OSError as error:
        raise InputError(f"path: {error.filename or path} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Listing:
    """Image files and their classes."""

    files: list[str]
    labels: list[int] | None
    """An index into `class_names` for each file; None when there are no classes."""

    class_names: tuple[str, ...]


def listing(names: list[str], classes: bool | None, path: Path) -> Listing:
    """Sorts files into classes: what lies in one folder of the top, however deep, is of one class.

    Args:
        names: of the files, from the top, in order.
        classes: whether there are any; None if that is to be seen from the folders.
        path: where the files are, for the complaint.

    Raises:
        InputError: no files, or some lie in folders and some beside them.
    """
    if not names:
        raise InputError(
            f"path: there are no images in {path}; known by their endings are {FORMATS.replace(' ', ', ')}"
        )
    loose = [name for name in names if "/" not in name]
    if classes is False or (classes is None and len(loose) == len(names)):
        return Listing(names, None, ())
    if loose:
        others = f" (and {len(loose) - 1} more)" if len(loose) > 1 else ""
        raise InputError(
            f"path: {path} should have one folder for each class, but {loose[0]}{others} lies in none; move what lies "
            f"loose, or set `classes = false` to take everything as one"
        )
    folders = [name.partition("/")[0] for name in names]
    class_names = tuple(sorted(set(folders)))
    number = {name: index for index, name in enumerate(class_names)}
    return Listing(names, [number[folder] for folder in folders], class_names)


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
