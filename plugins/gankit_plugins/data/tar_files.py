"""Files in uncompressed tar archives. An index of their positions is built once, so that they are read in any order."""

from __future__ import annotations

import glob
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gankit import InputError
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import check_size
from gankit_plugins.data.folder import is_hidden
from gankit_plugins.data.labels import natural_order

NUMBERS = re.compile(r"\{(?P<first>\d+)\.\.(?P<last>\d+)\}")
"""Regular expression for a range of numbers in the name of an archive, such as `{0000..0009}`."""

PART = 2**20
"""Number of bytes that are read at a time after the last file of an archive."""


class Member(NamedTuple):
    """Position of the content of a file in a tar archive."""

    archive: Path
    offset: int
    size: int
    """Size of the file, in bytes."""

    def read(self) -> bytes:
        """Return the content of the file.

        Raises:
            ImageError: the archive cannot be read, or the file is too large.
        """
        check_size(self.size)
        try:
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(str(error)) from error


@dataclass(frozen=True)
class Members:
    """Image files in tar archives."""

    by_name: Mapping[str, Member]

    def names(self) -> Iterator[str]:
        """Return the names of all image files, in the order of the index."""
        return iter(self.by_name)

    def open(self, name: str) -> bytes:
        """Return the content of an image file. Raise `ImageError` if it cannot be read or is too large."""
        return self.by_name[name].read()


def find_archives(path: Path) -> list[Path]:
    """Return the paths of tar archives, in natural order: 2 before 10.

    Args:
        path: a tar archive, a folder of archives whose names end in `.tar`, or a pattern. A pattern has wildcards, such
            as `train-*.tar`, or ranges of numbers, such as `train-{0000..0009}.tar`.

    Raises:
        InputError: an archive does not exist, or there are no archives.
    """
    if path.is_file():
        return [path]
    patterns = [glob.escape(str(path)) + "/*.tar"] if path.is_dir() else list(_without_ranges(str(path)))
    found = {pattern: sorted(glob.glob(pattern), key=natural_order) for pattern in patterns}
    if missing := next((pattern for pattern, archives in found.items() if not archives), None):
        raise InputError(
            f"path: {missing} does not exist; give a tar archive, a folder of them, or a pattern such as train-*.tar "
            "or train-{0000..0009}.tar"
        )
    # Several patterns may find the same archive.
    return list(dict.fromkeys(Path(archive) for archives in found.values() for archive in archives))


def _without_ranges(pattern: str) -> Iterator[str]:
    """Yield a pattern once for each number in its ranges. The numbers have the width of the first one."""
    if not (match := NUMBERS.search(pattern)):
        yield pattern
        return
    first, last = match["first"], match["last"]
    for number in range(int(first), int(last) + 1):
        yield from _without_ranges(f"{pattern[: match.start()]}{number:0{len(first)}}{pattern[match.end() :]}")


def _check_end(path: Path, end: int) -> None:
    """Check that only zeros follow the last file of an archive, which ends at byte `end`: the mark of its end.

    `tarfile` also stops at a damaged header, and at the end of the first of several joined archives.

    Raises:
        tarfile.ReadError: there is no mark, or other data follow.
    """
    with open(path, "rb") as file:
        file.seek(end)
        if len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it is incomplete, because it ends at byte {end} without a mark")
        file.seek(end)
        while part := file.read(PART):
            if part.count(0) < len(part):
                raise tarfile.ReadError(f"it is damaged after byte {end}, or consists of several archives")


def list_members(path: Path) -> Iterator[tuple[str, Member]]:
    """Yield the name and the position of each file in a tar archive. Hidden files are left out.

    Raises:
        InputError: the file is not a tar archive, is compressed, or is damaged.
    """
    try:
        # Mode "r:" refuses compressed archives, whose files cannot be read in any order.
        with tarfile.open(path, "r:") as archive:
            while (info := archive.next()) is not None:
                # Do not store the entries of the archive, because millions of them take gigabytes.
                archive.members = []  # type: ignore[attr-defined]
                if info.isreg() and not info.issparse() and not is_hidden(info.name.removeprefix("./")):
                    yield info.name.removeprefix("./"), Member(path, info.offset_data, info.size)
            _check_end(path, archive.offset)
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"path: {path} cannot be read as a tar archive without compression: {error}; decompress it, or get it again"
        ) from error
