"""Checkpoints: folders with tensors in safetensors files, and all other values in `state.json`."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gankit.errors import InputError
from gankit.storage.atomic_io import TEMPORARY, disk_errors
from gankit.storage.run_dir import RunDir

FORMAT = 4
TensorFile = dict[str, Tensor]

PARTS = ("generator", "discriminator", "optimizer", "plugins", "random")
FILES = tuple(f"{part}.safetensors" for part in PARTS)
"""Names of the safetensors files in every checkpoint. Each network that a plugin adds is saved in one more file."""


class DamagedError(InputError):
    """Error for a damaged checkpoint: a file is missing or truncated, or the content of a file has changed."""


def write_checkpoint(place: Path, files: Iterable[tuple[str, bytes]], state: dict[str, Any]) -> None:
    """Write the folder of a checkpoint under a temporary name, and rename the folder when it is complete.

    `files` yields the name and content of each tensor file. Each file is written before the next one is requested.
    `state` contains the values for `state.json`.
    """
    temporary = place.with_name(TEMPORARY + place.name)
    with disk_errors(place):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            written = {name: _write_synced(temporary / name, data) for name, data in files}
            state = state | {"format": FORMAT, "files": written}
            _write_synced(temporary / "state.json", json.dumps(state | {"sha256": _digest(state)}, indent=1).encode())
            if _same_checkpoint(temporary, place):
                # Keep an identical checkpoint that exists already. Replacing it would leave no checkpoint for a moment.
                shutil.rmtree(temporary)
                return
            if place.exists():
                shutil.rmtree(place)
            os.rename(temporary, place)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(place.parent)


def verify(place: Path) -> dict[str, Any]:
    """Check the size and SHA-256 hash of every file in a checkpoint. Return the content of `state.json`.

    Raises:
        DamagedError: a file is missing or its content has changed. The message names this file.
        InputError: another version of gankit wrote the checkpoint in a different format.
    """
    path = place / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict) or state.pop("sha256", None) != _digest(state):
        raise DamagedError(f"{path} is damaged: its content differs from what was written")
    if state.get("format") != FORMAT:
        raise InputError(f"{path} has format {state.get('format')}; this version of gankit reads format {FORMAT}")
    for name, recorded in state["files"].items():
        file = place / name
        size = file.stat().st_size if file.exists() else 0
        if size != recorded["bytes"]:
            raise DamagedError(f"{file} is truncated: {size} bytes of {recorded['bytes']}")
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != recorded["sha256"]:
                raise DamagedError(f"{file} is damaged: its content differs from what was written")
    return state


def newest_whole_checkpoint(directory: RunDir) -> tuple[Path | None, list[str]]:
    """Return the path of the newest undamaged checkpoint, and a message for each damaged checkpoint that is newer.

    If there is no undamaged checkpoint, the path is None.
    """
    damaged = []
    for place in reversed(directory.saved_checkpoints()):
        try:
            verify(place)
        except DamagedError as error:
            damaged.append(str(error))
        else:
            return place, damaged
    return None, damaged


def read_tensors(path: Path) -> tuple[TensorFile, dict[str, Any]]:
    """Return the tensors of a safetensors file by name, and the metadata of the file.

    The metadata is the dict that was passed to `tensors_to_bytes` as `card`. It is empty if no dict was passed.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {}).get("gankit", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read; it may be truncated ({error})") from error


def _digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _same_checkpoint(one: Path, other: Path) -> bool:
    """Return True if two checkpoints are undamaged and have equal files."""
    try:
        return verify(one) == verify(other)
    except InputError:
        return False


def _write_synced(path: Path, data: bytes) -> dict[str, Any]:
    """Write a file and flush it to disk. Return its size in bytes and its SHA-256 hash."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
