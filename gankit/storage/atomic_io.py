"""Files that are whole or not there: written beside their place, forced to disk, renamed into it."""

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
"""What the names of files and folders being written begin with. A killed process may leave some behind."""


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Turns the errors of a full or failing disk into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise GankitError(
                f"the disk is full: {what} could not be written ({error.strerror}); everything written before is whole"
            ) from error
        raise GankitError(f"{what} could not be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes, shared: bool = False) -> None:
    """Replaces a file in one step.

    Args:
        path: the file.
        data: what is to be in it.
        shared: several processes may be about to write it. Where one alone may, what a killed one has left half
            written is written over by the next.

    Raises GankitError when the disk is full; what was there before is then still there.
    """
    write_parts(path, [data], shared)


def write_parts(path: Path, parts: Iterable[bytes], shared: bool = False) -> None:
    """`write_bytes` of what comes part by part, so that it need never be in memory as a whole.

    Whatever goes wrong where the parts come from, too, leaves what was there before.
    """
    beside = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}" if shared else f"{TEMPORARY}{path.name}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def tensors_to_bytes(tensors: dict[str, Tensor], card: dict[str, Any] | None = None) -> bytes:
    """Tensors, and JSON beside them under the metadata key `gankit`, in safetensors' format.

    One metadata key only: with several, their order in the file would change from process to process.
    """
    from safetensors.torch import save

    # Cloned, because safetensors refuses tensors that share memory.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"gankit": json.dumps(card, sort_keys=True)} if card is not None else None
    return save(contiguous, metadata)
