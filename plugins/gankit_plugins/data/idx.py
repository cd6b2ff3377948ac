"""The idx format of MNIST and its kin: four bytes of magic, the dimensions, then the values.

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
"""The magic's third byte; the only type of value that is read here."""

GZIP_MAGIC = b"\x1f\x8b"
PIECE = 1 << 20


def idx_shape(path: Path) -> tuple[int, ...]:
    """The dimensions that the header states; the values are not read.

    Raises:
        InputError: not an idx file of bytes, or cut off within the header.
    """
    with _opened(path) as file:
        return _read_shape(path, file)


def read_idx(path: Path) -> Tensor:
    """All values, uint8, in the header's shape. The file may be compressed by gzip, whatever its name.

    Raises:
        InputError: not an idx file of bytes, cut off, longer than its header says, or damaged.
    """
    with _opened(path) as file:
        shape = _read_shape(path, file)
        expected = math.prod(shape)
        values = bytearray()
        # Piece by piece, and never trusting the header with an allocation: it may state anything.
        while piece := file.read(min(PIECE, expected + 1 - len(values))):
            values += piece
    if len(values) != expected:
        found = "more" if len(values) > expected else f"only {len(values)}"
        raise InputError(f"{path}: its header promises {expected} bytes of values, there are {found}; get it anew")
    # frombuffer takes no empty buffer.
    flat = torch.frombuffer(values, dtype=torch.uint8) if values else torch.empty(0, dtype=torch.uint8)
    return flat.reshape(shape)


def _read_shape(path: Path, file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise InputError(f"{path}: this is not an idx file, it begins with {magic.hex(' ') or 'nothing'}")
    kind, dimensions = magic[2:]
    if kind != UNSIGNED_BYTE:
        raise InputError(f"{path}: holds values of type {kind:#04x}; only bytes, {UNSIGNED_BYTE:#04x}, can be read")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(f"{path}: ends within its header; get it anew")
    return struct.unpack(f">{dimensions}I", sizes)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's content, unpacked where it is packed."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: its gzip data is damaged or cut off ({error}); get it anew") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
