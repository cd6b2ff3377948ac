"""Classes and functions that list and read image files in a folder or a zip file. Zip files are not unpacked."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from gankit import InputError
from gankit_plugins.data.decode import ImageError, check_size

EXTENSIONS = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 avif"
"""Extensions of image files, in lower case. Files with other extensions are ignored."""

SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS.split())

NAMES_IN_MEMORY = 1_000_000
"""Maximum number of file names of a folder that are in memory at the same time."""


@dataclass(frozen=True)
class Folder:
    """Image files in a folder and its subfolders. Symbolic links are followed."""

    top: Path

    def names(self) -> Iterator[str]:
        """Return the paths of all image files relative to `top`, sorted. Hidden files are left out.

        Each call reads the folder again.
        """
        return self._below(self.top, "", ())

    def open(self, name: str) -> str:
        """Return the path of a file. `name` is its path relative to `top`."""
        # Use os.path.join, because it is much faster than Path, and this method is called for every file.
        return os.path.join(self.top, name)

    def _below(self, folder: Path, prefix: str, parents: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in parents:  # skip a symbolic link to a parent folder, which would cause an endless loop
            return
        for name in sorted_names(lambda: _entries(folder)):
            if name.endswith("/"):
                yield from self._below(folder / name, prefix + name, (*parents, real))
            else:
                yield prefix + name


def _entries(folder: Path) -> Iterator[str]:
    """Yield the names of the image files and subfolders in a folder. Hidden files and folders are left out.

    The names of subfolders end in a slash, so that sorting the names also sorts the paths of the files.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif is_image(entry.name) and entry.is_file():
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
    """Image files in a zip file, without hidden files. If all files are in one top-level folder, their names omit it.

    Args:
        archive: zip file, open for reading.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.entries = {
            info.filename: info
            for info in archive.infolist()
            if is_image(info.filename)
            and not any(part.startswith(".") or part == "__MACOSX" for part in info.filename.split("/"))
        }
        tops = {name.partition("/")[0] if "/" in name else None for name in self.entries}
        if len(tops) == 1 and None not in tops:
            self.entries = {name.partition("/")[2]: info for name, info in self.entries.items()}

    def names(self) -> Iterator[str]:
        """Return the names of all image files, sorted. Hidden files are left out."""
        return iter(sorted(self.entries))

    def open(self, name: str) -> bytes:
        """Return the content of an image file. Raise `ImageError` if it cannot be read or is too large."""
        entry = self.entries[name]
        check_size(entry.file_size)
        try:
            return self.archive.read(entry)
        # zipfile raises RuntimeError for encrypted files, and NotImplementedError for unknown compression methods.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise ImageError(str(error)) from error


@contextmanager
def open_files(path: Path) -> Iterator[Folder | Zip]:
    """Open a folder or a zip file of images (a context manager). At the end, a zip file is closed.

    Raises:
        InputError: `path` is not a folder or a zip file, or cannot be read.
    """
    try:
        if path.is_dir():
            yield Folder(path)
            return
        with zipfile.ZipFile(path) as archive:
            yield Zip(archive)
    except FileNotFoundError as error:
        raise InputError(f"path: {error.filename or path} does not exist") from None
    except zipfile.BadZipFile as error:
        raise InputError(
            f"path: {path} is not a folder, a zip file or a file written by `gankit prepare` ({error})"
        ) from None
    except OSError as error:
        raise InputError(f"path: {error.filename or path} cannot be read: {error.strerror or error}") from error


def list_classes(names: Iterable[str], classes: bool | None, path: Path) -> tuple[int, dict[str, int]]:
    """Return the number of image files, and a dictionary that maps each class folder to its label.

    Each top-level folder is a class. All files in this folder and its subfolders belong to the class. Without classes,
    the dictionary is empty.

    Args:
        names: paths of the files relative to the top.
        classes: True if folders are image classes, False if not. None means True if there are folders.
        path: path of the folder or zip file, for error messages.

    Raises:
        InputError: there are no files, or there are class folders and a file is outside of them.
    """
    count, loose = 0, ""
    folders: set[str] = set()
    for name in names:
        count += 1
        folder, slash, _ = name.partition("/")
        if slash:
            folders.add(folder)
        else:
            loose = loose or name
    if not count:
        raise InputError(f"path: {path} contains no images; the extensions are {EXTENSIONS.replace(' ', ', ')}")
    if classes is False or (classes is None and not folders):
        return count, {}
    if loose:
        raise InputError(
            f"path: {path}: {loose} is not in the folder of a class; move all images into such folders, or set "
            "`classes = false` for images without classes"
        )
    return count, {name: label for label, name in enumerate(sorted(folders))}


def is_image(name: str) -> bool:
    """Return True if a file name has the extension of an image format."""
    return name.lower().endswith(SUFFIXES)
