"""Image files in LMDB databases, such as the LSUN databases.

Each value in a database is the content of an image file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gankit import InputError
from gankit_plugins.data.decode import check_size

DATA = "data.mdb"
"""Name of the data file in the folder of an LMDB database."""

ENCODING = "latin-1"
"""Encoding that converts keys to text. Latin-1 can decode any bytes."""


class Databases:
    """Image files in LMDB databases. The name of an image is the name of its database, a slash and its key.

    Args:
        transactions: an open transaction of `lmdb` for each database, by the name of the database.
    """

    def __init__(self, transactions: Mapping[str, Any]) -> None:
        self.transactions = transactions

    def names(self) -> Iterator[str]:
        """Yield the names of all images, one database after the other.

        The images of a database are sorted by key, in byte order.
        """
        for name, transaction in self.transactions.items():
            for key in transaction.cursor().iternext(values=False):
                yield f"{name}/{key.decode(ENCODING)}"

    def open(self, name: str) -> bytes:
        """Return the content of an image. Raise `ImageError` if it is too large."""
        database, _, key = name.partition("/")
        content: bytes = self.transactions[database].get(key.encode(ENCODING))
        check_size(len(content))
        return content

    def count(self) -> int:
        """Return the number of images in all databases."""
        return sum(transaction.stat()["entries"] for transaction in self.transactions.values())


@contextmanager
def open_databases(folders: Mapping[str, Path]) -> Iterator[Databases]:
    """Open databases for reading (a context manager). No files are written, not even a lock file.

    Args:
        folders: folder of each database, by the name of the database. The names contain no slash.

    Raises:
        InputError: the package `lmdb` is not installed, or a database cannot be read.
    """
    try:
        import lmdb
    except ImportError:
        folder = next(iter(folders.values()))
        raise InputError(
            f"path: {folder} is an LMDB database, and lmdb is not installed; run `pip install 'gankit[lsun]'`"
        ) from None
    with ExitStack() as stack:
        transactions = {}
        for name, folder in folders.items():
            try:
                database = stack.enter_context(lmdb.open(str(folder), readonly=True, lock=False, create=False))
                check_complete(folder / DATA, (database.info()["last_pgno"] + 1) * database.stat()["psize"])
                transactions[name] = stack.enter_context(database.begin())
            except lmdb.Error as error:
                raise InputError(f"path: {folder} cannot be read: {error}") from error
        try:
            yield Databases(transactions)
        except lmdb.Error as error:
            raise InputError(f"path: {', '.join(map(str, folders.values()))}: cannot be read: {error}") from error


def check_complete(file: Path, size: int) -> None:
    """Raise `InputError` if the file of a database has fewer than `size` bytes.

    LMDB maps the file to memory. Access to a missing part would end the process with the signal SIGBUS.
    """
    if (found := file.stat().st_size) < size:
        raise InputError(f"path: {file} has {found} bytes, but its header declares {size}; get it again")
