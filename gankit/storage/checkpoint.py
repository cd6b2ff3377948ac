"""Exact, atomic checkpoints: safetensors for tensors, JSON for the rest, a folder that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gankit.errors import InputError
from gankit.storage.run_dir import RunDir

CHECKPOINT_FORMAT = 1
TensorFile = dict[str, Tensor]

FILES = tuple(f"{what}.safetensors" for what in ("generator", "discriminator", "optimizer", "plugins", "random"))
"""What every checkpoint has, each in a file of tensors."""


def ranks_of(place: Path) -> int:
    """How many ranks wrote a checkpoint."""
    ranks: int = verify(place).get("ranks", 1)
    return ranks


class DamagedError(InputError):
    """A checkpoint is not as it was written."""


def verify(place: Path) -> dict[str, Any]:
    """Reads state.json and compares every file, itself included, with the SHA-256 noted there.

    Raises:
        DamagedError: names the first file that is not as it was written.
        InputError: another version of gankit wrote it, in a format of its own.
    """
    path = place / "state.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if not isinstance(plain, dict) or plain.pop("sha256", None) != seal(plain):
        raise DamagedError(f"{path} is damaged: its content is not what was written")
    if plain.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path} is of format {plain.get('format')}; this gankit reads format {CHECKPOINT_FORMAT}")
    for name, noted in plain["files"].items():
        file = place / name
        size = file.stat().st_size if file.exists() else 0
        if size != noted["bytes"]:
            raise DamagedError(f"{file} is truncated: {size} bytes of {noted['bytes']}")
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != noted["sha256"]:
                raise DamagedError(f"{file} is damaged: its content is not what was written")
    return plain


def newest_whole_checkpoint(directory: RunDir) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is as it was written, and a sentence for each newer one that is not.

    Raises InputError when another version of gankit wrote it, in a format of its own.
    """
    complaints = []
    for place in reversed(directory.saved_checkpoints()):
        try:
            verify(place)
        except DamagedError as error:
            complaints.append(str(error))
        else:
            return place, complaints
    return None, complaints


def seal(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def same_checkpoint(one: Path, other: Path) -> bool:
    """Whether the other checkpoint is whole and holds the same to the byte."""
    try:
        return verify(one) == verify(other)
    except InputError:
        return False


def write_synced(path: Path, data: bytes) -> dict[str, Any]:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_tensors(path: Path) -> TensorFile:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
