"""Where the files of a collection of images lie: in a folder, or in a zip file that is read in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from pathlib import Path
from typing import Protocol

from gankit import InputError

FORMATS = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 avif"
"""The endings of the files that are taken for images, in small letters. All others are ignored."""

SUFFIXES = tuple(f".{ending}" for ending in FORMATS.split())

AT_ONCE = 1_000_000
"""Names of one folder that are in memory at once."""


class Shelf(Protocol):
    """A folder or a zip file. Its image files go by their path from the top, with slashes, on every system."""

    def names(self) -> Iterator[str]:
        """All image files, in order, hidden ones left out. They are looked for anew each time."""
        ...

    def path(self, name: str) -> str | None:
        """Where a file lies, if it can be read by its path."""
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

    top: Path

    def names(self) -> Iterator[str]:
        return self._below(self.top, "", ())

    def path(self, name: str) -> str:
        # Path would take longer than all else that is done for an image here.
        return os.path.join(self.top, name)

    def size(self, name: str) -> int:
        return os.stat(self.path(name)).st_size

    def read(self, name: str) -> bytes:
        return Path(self.path(name)).read_bytes()

    def _below(self, folder: Path, at: str, above: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in above:  # a link that leads back up
            return
        for name in in_order(lambda: _entries(folder)):
            if name.endswith("/"):
                yield from self._below(folder / name, at + name, (*above, real))
            else:
                yield at + name


def _entries(folder: Path) -> Iterator[str]:
    """Image files and folders, these with a slash: it sorts them as it sorts the paths of what is in them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif is_image(entry.name) and entry.is_file():
                yield entry.name


def in_order(names: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Names, no two of them alike, sorted in memory that does not grow with them: gone through once for each `AT_ONCE`.

    Args:
        names: gives them anew each time, in any order.
    """
    some = nsmallest(AT_ONCE, names())
    yield from some
    while len(some) == AT_ONCE:
        last = some[-1]
        some = nsmallest(AT_ONCE, (name for name in names() if name > last))
        yield from some


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

    def names(self) -> Iterator[str]:
        return iter(sorted(self.entries))

    def path(self, name: str) -> None:
        return None

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
    """How many image files there are, and of which classes."""

    count: int
    class_names: tuple[str, ...]
    """Empty when there are no classes."""

    def has_class(self, name: str) -> bool:
        """Whether a file lies in the folder of a class."""
        return name.partition("/")[0] in self._labels

    def label(self, name: str) -> int:
        """A file's index into `class_names`."""
        return self._labels[name.partition("/")[0]]

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.class_names)}


def listing(names: Iterable[str], classes: bool | None, path: Path) -> Listing:
    """Sorts files into classes: what lies in one folder of the top, however deep, is of one class.

    Args:
        names: of the files, from the top, in order.
        classes: whether there are any; None if that is to be seen from the folders.
        path: where the files are, for the complaint.

    Raises:
        InputError: no files, or some lie in folders and some beside them.
    """
    count = loose = 0
    first_loose = ""
    folders: set[str] = set()
    for name in names:
        count += 1
        folder, slash, _ = name.partition("/")
        if slash:
            folders.add(folder)
        else:
            loose += 1
            first_loose = first_loose or name
    if not count:
        raise InputError(
            f"path: there are no images in {path}; known by their endings are {FORMATS.replace(' ', ', ')}"
        )
    if classes is False or (classes is None and not folders):
        return Listing(count, ())
    if loose:
        others = f" (and {loose - 1} more)" if loose > 1 else ""
        raise InputError(
            f"path: {path} should have one folder for each class, but {first_loose}{others} lies in none; move what "
            f"lies loose, or set `classes = false` to take everything as one"
        )
    return Listing(count, tuple(sorted(folders)))


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
