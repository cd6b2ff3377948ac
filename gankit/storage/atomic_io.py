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
"""Prefix of the names of incomplete files and folders. They remain after a kill."""


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Convert the OSError of a full or failing disk to a GankitError of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise GankitError(
                f"the disk is full: {what} could not be written ({error.strerror}); files written before are complete"
            ) from error
        raise GankitError(f"{what} could not be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes, shared: bool = False) -> None:
    """Replace a file in one step. After a GankitError, such as for a full disk, it has its old content.

    Args:
        path: the file.
        data: its new content.
        shared: give each process its own temporary file, because several may write the file at once. Otherwise, the
            next write replaces the temporary file of a killed process.
    """
    write_parts(path, [data], shared)


def write_parts(path: Path, parts: Iterable[bytes], shared: bool = False) -> None:
    """Replace a file in one step like `write_bytes`, from parts, so that the whole content is never in memory."""
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
    # There is a single key, because the order of several keys in the file would differ between processes.
    metadata = {"gankit": json.dumps(card, sort_keys=True)} if card is not None else None
    return save(contiguous, metadata)
