"""What is computed once and kept: features of real images, classifiers. Safetensors files in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gankit.errors import GankitError
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes

Kept = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and facts beside them."""


def cache_folder() -> Path:
    """`$GANKIT_CACHE`, else `gankit` in the user's cache folder."""
    if given := os.environ.get("GANKIT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gankit"


def disk_cache(what: str, key: Any, compute: Callable[[], Kept]) -> Kept:
    """What was computed for this key before; else computes and keeps it.

    Of several processes that want the same, one computes it and the others wait. Where nothing can be written, it is
    computed each time.

    Args:
        what: the kind, which begins the file's name.
        key: all that the result depends on, of what JSON knows.
        compute: gives it.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"{what}-{digest[:32]}.safetensors"
    if (found := _read(path)) is not None:
        return found
    with _alone(path):
        # Whoever had to wait finds what was computed meanwhile.
        if (found := _read(path)) is not None:
            return found
        tensors, facts = compute()
        with suppress(GankitError):
            write_bytes(path, tensors_to_bytes(tensors, facts), shared=True)
        return tensors, facts


def _read(path: Path) -> Kept | None:
    """None for what is not there yet, or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["gankit"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time for a file. Where no lock can be had, everyone works for himself."""
    lock = path.with_suffix(".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "w")  # noqa: SIM115 (held until the end)
    except OSError:
        yield
        return
    with file:
        with suppress(OSError):  # a network's file system that knows no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Who waits for it has it open, and finds what was computed. Who comes later makes another.
            lock.unlink(missing_ok=True)
