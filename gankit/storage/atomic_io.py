"""Atomic writes: a file is written under a temporary name, forced to disk and renamed."""

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
"""Prefix of files and folders that are being written. A killed process may leave some behind."""


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Raise the errors of a full or failing disk as a GankitError of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise GankitError(
                f"the disk is full: {what} could not be written ({error.strerror}); files written before are complete"
            ) from error
        raise GankitError(f"{what} could not be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes, shared: bool = False) -> None:
    """Replace a file in one step.

    Args:
        path: the file.
        data: its new content.
        shared: several processes may write the file at once, so each uses its own temporary name. Otherwise, the next
            write replaces the temporary file of a killed process.

    Raises:
        GankitError: the disk is full. The file keeps its old content.
    """
    write_parts(path, [data], shared)


def write_parts(path: Path, parts: Iterable[bytes], shared: bool = False) -> None:
    """Write a file from parts, like `write_bytes`, so that the whole content is never in memory.

    An error of the iterator leaves the old content.
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


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step by a text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace a file in one step by a value as JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def tensors_to_bytes(tensors: dict[str, Tensor], card: dict[str, Any] | None = None) -> bytes:
    """Return tensors in safetensors format, with `card` as JSON under the metadata key `gankit`."""
    from safetensors.torch import save

    # safetensors refuses tensors that share memory.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One key only: the order of several keys in the file would change from process to process.
    metadata = {"gankit": json.dumps(card, sort_keys=True)} if card is not None else None
    return save(contiguous, metadata)
