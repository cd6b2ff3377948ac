"""Image files in a folder, or in a zip file that is read in place."""

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
"""Extensions of image files, in lower case. All other files are ignored."""

SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS.split())

NAMES_IN_MEMORY = 1_000_000
"""Number of names of one folder that are in memory at once."""


@dataclass(frozen=True)
class Folder:
    """A folder and its subfolders. Links are followed."""

    top: Path

    def names(self) -> Iterator[str]:
        """Return the paths of all image files from the top in order, without hidden ones. Read the folder again."""
        return self._below(self.top, "", ())

    def open(self, name: str) -> str:
        """Return the path of a file."""
        # os.path.join is much faster than Path.
        return os.path.join(self.top, name)

    def _below(self, folder: Path, prefix: str, parents: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in parents:  # a link to a parent
            return
        for name in sorted_names(lambda: _entries(folder)):
            if name.endswith("/"):
                yield from self._below(folder / name, prefix + name, (*parents, real))
            else:
                yield prefix + name


def _entries(folder: Path) -> Iterator[str]:
    """Yield the image files and the folders. A folder ends in a slash, so that it sorts as the paths below it do."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif is_image(entry.name) and entry.is_file():
                yield entry.name


def sorted_names(names: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield unique names in order, in bounded memory: `names` is called once for every `NAMES_IN_MEMORY` names.

    Args:
        names: returns all names, in any order.
    """
    block = nsmallest(NAMES_IN_MEMORY, names())
    yield from block
    while len(block) == NAMES_IN_MEMORY:
        last = block[-1]
        block = nsmallest(NAMES_IN_MEMORY, (name for name in names() if name > last))
        yield from block


class Zip:
    """A zip file. A single top folder that contains everything, as in most archives, is left out of the names.

    Args:
        archive: the file, open for reading.
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
        """Return the names of all image files in order, without hidden ones."""
        return iter(sorted(self.entries))

    def open(self, name: str) -> bytes:
        """Return the content of a file, or raise `ImageError`."""
        entry = self.entries[name]
        check_size(entry.file_size)
        try:
            return self.archive.read(entry)
        # Encrypted entries raise RuntimeError, unknown compression methods NotImplementedError.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise ImageError(str(error)) from error


@contextmanager
def open_files(path: Path) -> Iterator[Folder | Zip]:
    """Open a folder or a zip file of images.

    Raises:
        InputError: the path is neither, or cannot be read.
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
    """Return the number of files, and the label of each top-level folder, whose files, at any depth, are one class.

    Args:
        names: the names of the files, in order.
        classes: whether folders are classes; None: if there are folders.
        path: the folder or zip file, for messages.

    Raises:
        InputError: there are no files, or some are in folders and some are not.
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
    """Return whether a file has the extension of an image."""
    return name.lower().endswith(SUFFIXES)
