"""Disk cache for results that are expensive to compute, such as features of real images.

Each result is a safetensors file.
"""

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

CacheEntry = tuple[dict[str, Tensor], dict[str, Any]]  # cached result: tensors by name, and JSON values by name


def cache_folder() -> Path:
    """Return the folder of the cache: `$GANKIT_CACHE`, or by default `gankit` in the user's cache folder."""
    if given := os.environ.get("GANKIT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gankit"


def disk_cache(what: str, key: Any, compute: Callable[[], CacheEntry]) -> CacheEntry:
    """Return the cached result for a key. If the cache has no such result, compute it and write it to the cache.

    If several processes need the same result, one process computes it and the other processes wait. If the cache folder
    is not writable, each call computes the result.

    Args:
        what: prefix of the name of the cache file, such as `features`.
        key: JSON value that contains everything on which the result depends.
        compute: function that returns the result.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"{what}-{digest[:32]}.safetensors"
    if (cached := _read(path)) is not None:
        return cached
    with _one_process(path):
        # Another process may have written the file while this process waited for the lock.
        if (cached := _read(path)) is not None:
            return cached
        tensors, facts = compute()
        with suppress(GankitError):
            write_bytes(path, tensors_to_bytes(tensors, facts), shared=True)
        return tensors, facts


def _read(path: Path) -> CacheEntry | None:
    """Return the content of a cache file, or None if the file is missing or damaged."""
    try:
        return read_tensors(path)
    except InputError:
        return None


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    """Lock a cache file while the `with` block runs, so that only one process computes the result.

    If the cache folder is read-only or does not support locks, the block runs without a lock.
    """
    lock_file = path.with_suffix(".lock")
    with ExitStack() as stack:
        # The library filelock raises NotImplementedError on a file system without locks.
        with suppress(OSError, NotImplementedError):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock_file))
            # Delete the lock file before the lock is released. The processes that wait for the lock still have the
            # deleted file open. Processes that start later create a new lock file.
            stack.callback(lock_file.unlink, missing_ok=True)
        yield
