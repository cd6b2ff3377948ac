"""Atomic writes: a file is written under a temporary name, flushed to disk and then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.errors import GankitError

if TYPE_CHECKING:
    from torch import Tensor

TEMPORARY = ".tmp-"
"""Prefix of the temporary names of incomplete files and folders. If the process is killed, they stay on disk."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Convert an OSError in the `with` block, such as a full disk, to a GankitError that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise GankitError(
                f"the disk is full: {path} could not be written ({error.strerror}); files written before are complete"
            ) from error
        raise GankitError(f"{path} could not be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes, shared: bool = False) -> None:
    """Replace the content of a file atomically. If writing fails, raise a GankitError and keep the old content.

    Args:
        path: path of the file.
        data: new content of the file.
        shared: True if several processes may write the file at the same time. Each process then has its own temporary
            file. If False, the temporary file has a fixed name, so the next write replaces the temporary file of a
            killed process.
    """
    write_parts(path, [data], shared)


def write_parts(path: Path, parts: Iterable[bytes], shared: bool = False) -> None:
    """Replace the content of a file atomically with the concatenation of `parts`.

    To use less memory, the parts are written one after another. `shared` has the same meaning as in `write_bytes`.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}" if shared else f"{TEMPORARY}{path.name}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix. After the `with` block, rename this file to `path`.

    If the block raises an exception, the temporary file is removed, and an existing file `path` is unchanged.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the content of a file atomically with text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace the content of a file atomically with a value in JSON format, with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def tensors_to_bytes(tensors: dict[str, Tensor], card: dict[str, Any] | None = None) -> bytes:
    """Return tensors as bytes in safetensors format.

    `card` contains JSON values that describe the tensors. These values are stored in the metadata, under the key
    `gankit`.
    """
    from safetensors.torch import save

    # safetensors does not accept tensors that share memory, so every tensor is copied.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # Use a single metadata key. The order of several keys would differ between processes, so the bytes would differ
    # too.
    metadata = {"gankit": json.dumps(card, sort_keys=True)} if card is not None else None
    return save(contiguous, metadata)
