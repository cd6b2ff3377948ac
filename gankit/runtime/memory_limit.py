"""Limit of the memory that a process can use, and detection of out-of-memory errors."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
"""File in which Linux reports the address space of this process, as a number of pages."""

PAGE_BYTES = mmap.PAGESIZE
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files that contain the memory limit of a container: one for Linux control groups v2, and one for v1."""


def memory_limit() -> int | None:
    """Return the largest number of bytes that this process can use, or None if it is unknown.

    The number is the smallest of three values: the available memory including swap space, the limit of the container,
    and the limit of the process (`ulimit -v`).
    """
    limits = [_address_space()]
    if MEMINFO.exists():
        sizes = {name: int(kib) * 1024 for name, kib in re.findall(r"(\w+):\s+(\d+) kB", MEMINFO.read_text())}
        if "MemAvailable" in sizes:
            limits.append(sizes["MemAvailable"] + sizes.get("SwapFree", 0))
    limits += [int(text) for path in CGROUP_LIMITS if path.exists() and (text := path.read_text().strip()).isdigit()]
    return min((limit for limit in limits if limit is not None), default=None)


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no module `resource`
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def free_address_space() -> int | None:
    """Return the rest of the address space in bytes, or None if the process has no limit or does not run on Linux."""
    limit = _address_space()
    if limit is None or not STATM.exists():
        return None
    return max(0, limit - int(STATM.read_text().split()[0]) * PAGE_BYTES)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that memory cannot be allocated, on the CPU or on a GPU."""
    # Compare the name of the error's class, because importing torch to get `torch.OutOfMemoryError` takes two seconds.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and bool(re.search(r"can't allocate memory|bad_alloc", str(error))))
    )
