"""Arrays in NumPy files: a `.npy` file has one array, and a `.npz` file has several arrays with names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from gankit import InputError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class StoredArray:
    """Array in a NumPy file, described by the header of the file."""

    path: Path
    name: str
    """Name of the array in a `.npz` file. Empty for a `.npy` file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        """Return the path and the name of the array, for messages."""
        return f"{self.path}: {self.name}" if self.name else str(self.path)

    def read(self) -> Array:
        """Return the array in C order and native byte order. An array in a `.npy` file stays memory-mapped if it can.

        The caller may write into the array. The file does not change.

        Raises:
            InputError: the file is damaged.
        """
        with _read_errors(self.path):
            # Mode "c" maps the file copy-on-write. PyTorch gives a warning for arrays that are read-only.
            opened = np.load(self.path, mmap_mode="c", allow_pickle=False)
            if not isinstance(opened, np.ndarray):
                with opened:
                    opened = opened[self.name]
            array: Array = np.ascontiguousarray(opened, self.dtype.newbyteorder("="))
            return array


def list_arrays(path: Path) -> dict[str, StoredArray]:
    """Return the arrays in a NumPy file by their names. Only the headers are read.

    The only array of a `.npy` file has the name "".

    Raises:
        InputError: the file does not exist, or is not a NumPy file.
    """
    with _read_errors(path):
        opened = np.load(path, mmap_mode="c", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return {"": StoredArray(path, "", opened.shape, opened.dtype)}
        with opened:
            names = [name for name in opened.files if f"{name}.npy" in opened.zip.namelist()]
            return {name: StoredArray(path, name, *_header(opened.zip, name)) for name in names}


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the data type of an array in a `.npz` file, without reading its values."""
    with archive.open(f"{name}.npy") as file:
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Convert the errors of NumPy about the file `path` to `InputError` (a context manager)."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"path: {path} does not exist") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # With pickled objects, the message of NumPy recommends allow_pickle=True, which gankit never uses.
        reason = "it has Python objects, or is not a NumPy file" if "pickle" in str(error) else str(error)
        raise InputError(
            f"path: {path} cannot be read as arrays: {reason}; write it with numpy.save or numpy.savez, with numbers"
        ) from error
