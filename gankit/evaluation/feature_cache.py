"""Cache of results that are expensive to compute, such as features of real images: safetensors files on disk."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from gankit.errors import GankitError, InputError
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.checkpoint import read_tensors

CacheEntry = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and JSON values


def cache_folder() -> Path:
    """Return `$GANKIT_CACHE`, or by default `gankit` in the user's cache folder."""
    if given := os.environ.get("GANKIT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gankit"


def disk_cache(what: str, key: Any, compute: Callable[[], CacheEntry]) -> CacheEntry:
    """Return the cached result for a key, or compute and cache it.

    If several processes need the same result, one computes it and the others wait. If the cache folder is not writable,
    the result is computed each time.

    Args:
        what: the prefix of the file's name.
        key: JSON value of everything on which the result depends.
        compute: returns the result.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"{what}-{digest[:32]}.safetensors"
    if (cached := _read(path)) is not None:
        return cached
    with _one_process(path):
        # Another process may have written the file while this one waited for the lock.
        if (cached := _read(path)) is not None:
            return cached
        tensors, facts = compute()
        with suppress(GankitError):
            write_bytes(path, tensors_to_bytes(tensors, facts), shared=True)
        return tensors, facts


def _read(path: Path) -> CacheEntry | None:
    """Return the content of a file, or None if it is missing or damaged."""
    try:
        return read_tensors(path)
    except InputError:
        return None


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    """Lock a file of the cache. In a folder that is read-only or cannot have locks, do nothing."""
    lock_file = path.with_suffix(".lock")
    with ExitStack() as stack:
        # filelock raises NotImplementedError for a file system without locks.
        with suppress(OSError, NotImplementedError):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock_file))
            # The lock file is removed before the release. Waiting processes have it open; later ones create a new one.
            stack.callback(lock_file.unlink, missing_ok=True)
        yield
