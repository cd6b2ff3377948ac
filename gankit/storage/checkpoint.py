"""Checkpoints: folders with tensors in safetensors files and other values in `state.json`, written in one step."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gankit.errors import InputError
from gankit.storage.atomic_io import TEMPORARY, disk_errors
from gankit.storage.run_dir import RunDir

FORMAT = 1
TensorFile = dict[str, Tensor]

FILES = tuple(f"{part}.safetensors" for part in ("generator", "discriminator", "optimizer", "plugins", "random"))
"""Tensor files that every checkpoint has."""


class DamagedError(InputError):
    """A file of a checkpoint differs from what was written."""


def write_checkpoint(place: Path, files: Mapping[str, bytes], state: dict[str, Any]) -> None:
    """Write the folder of a checkpoint in one step: a kill at any moment leaves a complete checkpoint or none.

    `files` has the contents of the tensor files by name, and `state` the JSON values for `state.json`.
    """
    temporary = place.with_name(TEMPORARY + place.name)
    with disk_errors(place):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            written = {name: _write_synced(temporary / name, data) for name, data in files.items()}
            state = state | {"format": FORMAT, "files": written}
            _write_synced(temporary / "state.json", json.dumps(state | {"sha256": _digest(state)}, indent=1).encode())
            if _same_checkpoint(temporary, place):
                # An identical checkpoint exists already. Replacing it would leave none for a moment.
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
    """Compare every file with its recorded SHA-256, and return the values of `state.json`.

    Raises:
        DamagedError: a file differs from what was written. The error names the first one.
        InputError: the checkpoint has the format of another version of gankit.
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
    """Return the newest undamaged checkpoint, and a sentence for each newer one that is damaged."""
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
    """Return the tensors of a safetensors file and the JSON values in its metadata.

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
    """Return whether both checkpoints are undamaged and have equal files."""
    try:
        return verify(one) == verify(other)
    except InputError:
        return False


def _write_synced(path: Path, data: bytes) -> dict[str, Any]:
    """Write a file, force it to the disk, and return its size and SHA-256."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
