"""Classes and functions that list and read image files in a folder or a zip file. Zip files are not unpacked."""

from __future__ import annotations

import os
import posixpath
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from typing import Protocol

from gankit import InputError
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import ClipFile, check_size

EXTENSIONS = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 avif"
"""Extensions of image files, in lower case. Files with other extensions are ignored."""

SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS.split())

UTF8_FLAG = 0x800
"""Flag of a zip entry whose name is encoded as UTF-8."""

NAMES_IN_MEMORY = 1_000_000
"""Maximum number of file names of a folder that are in memory at the same time."""


class Files(Protocol):
    """Interface (`typing.Protocol`) of a collection of image files, such as a folder, a zip file or a database."""

    def names(self) -> Iterator[str]:
        """Return the names of all image files. Each call returns the names in the same order."""

    def open(self, name: str) -> ClipFile:
        """Return the path or the content of an image file, or the files of a clip.

        Raise `ImageError` if it cannot be read or is too large.
        """


class Tree(Protocol):
    """Interface (`typing.Protocol`) of a tree of folders with images or clips, such as a folder or a zip file."""

    @property
    def passed_over(self) -> Counter[str]:
        """Number of files that are not images, by extension."""

    def names(self) -> Iterator[str]:
        """Return the paths of all images or clips, relative to the top. Each call returns them in the same order."""

    def subfolders(self, prefix: str) -> set[str]:
        """Return the names of the folders directly in the folder `prefix`, which ends in a slash or is empty."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file that is not an image, or None if it does not exist."""


@dataclass(frozen=True)
class Selection:
    """Image files in a folder or a zip file that the function `keep` selects by name."""

    files: Files

    keep: Callable[[str], bool]
    """Function that returns True for the names of the files in the selection."""

    def names(self) -> Iterator[str]:
        """Return the names of the files in the selection."""
        return filter(self.keep, self.files.names())

    def open(self, name: str) -> ClipFile:
        """Return the path or the content of an image file. Raise `ImageError` if it cannot be read or is too large."""
        return self.files.open(name)


@dataclass(frozen=True)
class Folder:
    """Image files, or files with other suffixes, in a folder and its subfolders. Symbolic links are followed."""

    top: Path

    suffixes: tuple[str, ...] = SUFFIXES
    """Suffixes of the files, in lower case."""

    passed_over: Counter[str] = field(default_factory=Counter)
    """Number of files that are not images, by extension. The method `names` counts these files."""

    def names(self) -> Iterator[str]:
        """Yield the paths of all image files relative to `top`, sorted. Hidden files are left out.

        Each call reads the folder again.
        """
        self.passed_over.clear()
        yield from self._below(self.top, "", ())

    def subfolders(self, prefix: str) -> set[str]:
        """Return the names of the folders directly in the folder `prefix`.

        `prefix` is a path that ends in a slash, or "" for the top folder.
        """
        return {name[:-1] for name in _entries(self.top / prefix) if name.endswith("/")}

    def read(self, name: str) -> bytes | None:
        """Return the content of a file that is not an image, or None if it does not exist."""
        path = self.top / name
        return path.read_bytes() if path.is_file() else None

    def open(self, name: str) -> str:
        """Return the path of a file. `name` is the path relative to `top`."""
        # Use os.path.join instead of the slower Path, because this method is called for every file.
        return os.path.join(self.top, name)

    def _below(self, folder: Path, prefix: str, parents: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in parents:  # skip a symbolic link to a parent folder, which would cause an endless loop
            return
        for name in sorted_names(lambda: _entries(folder)):
            if name.endswith("/"):
                yield from self._below(folder / name, prefix + name, (*parents, real))
            elif has_suffix(name, self.suffixes):
                yield prefix + name
            else:
                self.passed_over[extension_of(name)] += 1


def _entries(folder: Path) -> Iterator[str]:
    """Yield the names of the files and subfolders in a folder. Hidden files and folders are left out.

    The names of subfolders end in a slash. Sorting by these names gives the same order as sorting by full path.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif entry.is_file():
                yield entry.name


def sorted_names(names: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield names in sorted order, with bounded memory use.

    `names` is called once for each block of at most `NAMES_IN_MEMORY` names, and only one block is in memory.

    Args:
        names: function that returns all names, in any order and without duplicates.
    """
    block = nsmallest(NAMES_IN_MEMORY, names())
    yield from block
    while len(block) == NAMES_IN_MEMORY:
        last = block[-1]
        block = nsmallest(NAMES_IN_MEMORY, (name for name in names() if name > last))
        yield from block


class Zip:
    """Image files, or files with other suffixes, in a zip file, without hidden files.

    Args:
        archive: zip file, open for reading.
        suffixes: suffixes of the files, in lower case.
    """

    def __init__(self, archive: zipfile.ZipFile, suffixes: tuple[str, ...] = SUFFIXES) -> None:
        self.archive = archive
        self.passed_over: Counter[str] = Counter()
        self.entries: dict[str, zipfile.ZipInfo] = {}
        self.folders: set[str] = set()
        self.others: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = _name_in_zip(info)
            if is_hidden(name):
                continue
            if name.endswith("/"):
                self.folders.add(name)
            elif has_suffix(name, suffixes):
                self.entries[name] = info
            else:
                self.others[name] = info
                self.passed_over[extension_of(name)] += 1

    def names(self) -> Iterator[str]:
        """Return the names of all image files, sorted. Hidden files are left out."""
        return iter(sorted(self.entries))

    def subfolders(self, prefix: str) -> set[str]:
        """Return the names of the folders directly in the folder `prefix`.

        `prefix` is a path that ends in a slash, or "" for the top folder.
        """
        below = (
            name.removeprefix(prefix)
            for name in (*self.folders, *self.entries, *self.others)
            if name.startswith(prefix)
        )
        return {name.partition("/")[0] for name in below if "/" in name}

    def read(self, name: str) -> bytes | None:
        """Return the content of a file that is not an image, or None if it does not exist.

        Raises:
            InputError: the file cannot be read.
        """
        if name not in self.others:
            return None
        try:
            return self._content(self.others[name])
        except ImageError as error:
            raise InputError(f"path: {self.archive.filename}: {name} cannot be read: {error}") from error

    def open(self, name: str) -> bytes:
        """Return the content of an image file. Raise `ImageError` if it cannot be read or is too large."""
        return self._content(self.entries[name])

    def _content(self, entry: zipfile.ZipInfo) -> bytes:
        check_size(entry.file_size)
        try:
            return self.archive.read(entry)
        # zipfile raises RuntimeError for encrypted files, and NotImplementedError for unknown compression methods.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise ImageError(str(error)) from error


@contextmanager
def open_files(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Folder | Zip]:
    """Open the files with certain suffixes in a folder or a zip file, by default images (a context manager).

    A zip file is closed when the context ends.

    Raises:
        InputError: `path` is not a folder or a zip file, or cannot be read.
    """
    try:
        if path.is_dir():
            yield Folder(path, suffixes)
            return
        with zipfile.ZipFile(path) as archive:
            yield Zip(archive, suffixes)
    except FileNotFoundError as error:
        raise InputError(f"path: {error.filename or path} does not exist") from None
    except zipfile.BadZipFile as error:
        raise InputError(
            f"path: {path} is not a folder, a zip file or a file written by `gankit prepare` ({error})"
        ) from None
    except OSError as error:
        raise InputError(f"path: {error.filename or path} cannot be read: {error.strerror or error}") from error


@contextmanager
def open_selection(path: Path, keep: Callable[[str], bool]) -> Iterator[Selection]:
    """Open the images in a folder or a zip file for which `keep(name)` is true (a context manager).

    Raises:
        InputError: `path` is not a folder or a zip file, or cannot be read.
    """
    with open_files(path) as files:
        yield Selection(files, keep)


def is_image(name: str) -> bool:
    """Return True if a file name has the extension of an image format."""
    return has_suffix(name, SUFFIXES)


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Return True if a file name ends in one of the suffixes. The suffixes are in lower case."""
    return name.lower().endswith(suffixes)


def is_hidden(name: str) -> bool:
    """Return True if a path in an archive has a hidden folder or file, such as the folder `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def extension_of(name: str) -> str:
    """Return the extension of a file name in lower case, such as `.heic`. Without one, return `no extension`."""
    return os.path.splitext(name)[1].lower() or "no extension"


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """Return the path of a zip entry relative to the top of the zip file, with forward slashes."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        # For an entry without the UTF-8 flag, zipfile decodes the name with code page 437. Many programs write UTF-8
        # without setting the flag.
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    name = name.replace("\\", "/")
    return posixpath.normpath(name).lstrip("/") + ("/" if name.endswith("/") else "")
