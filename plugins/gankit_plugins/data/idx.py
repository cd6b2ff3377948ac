"""Functions that read files in the idx format, which MNIST uses.

An idx file contains a four-byte magic number, the size of each dimension, and the values.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (1998), section on file formats.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from gankit import InputError

UNSIGNED_BYTE = 0x08
"""Third byte of the magic number if the values are unsigned bytes. Other types of values are not supported."""

GZIP_MAGIC = b"\x1f\x8b"


def idx_shape(path: Path) -> tuple[int, ...]:
    """Return the shape in the header of an idx file, without reading the values. Raise InputError for a bad header."""
    with _open(path) as file:
        return _read_shape(path, file)


def read_idx(path: Path) -> Tensor:
    """Return the uint8 values of an idx file, in the shape that its header gives.

    The file may be compressed with gzip.

    Raises:
        InputError: the file cannot be read, is not an idx file of unsigned bytes, or its length does not match its
            header.
    """
    with _open(path) as file:
        shape = _read_shape(path, file)
        values = bytearray(file.read())
    if len(values) != (expected := math.prod(shape)):
        raise InputError(
            f"{path}: has {len(values)} bytes of values, but its header declares {expected}; replace the file"
        )
    # If there are no values, use torch.empty, because torch.frombuffer does not accept an empty buffer.
    flat = torch.frombuffer(values, dtype=torch.uint8) if values else torch.empty(0, dtype=torch.uint8)
    return flat.reshape(shape)


def _read_shape(path: Path, file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise InputError(f"{path}: is not an idx file: it begins with {magic.hex(' ') or 'nothing'}")
    kind, dimensions = magic[2:]
    if kind != UNSIGNED_BYTE:
        raise InputError(f"{path}: has values of type {kind:#04x}; only bytes, {UNSIGNED_BYTE:#04x}, are supported")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(f"{path}: its header is truncated; replace the file")
    return struct.unpack(f">{dimensions}I", sizes)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. If the file is compressed with gzip, decompress it while reading."""
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: its gzip data is damaged or truncated ({error}); replace the file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
