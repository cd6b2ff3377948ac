"""Memory-mapped images: detection, and advice to the kernel on the order of access (madvise).

By default, the kernel reads a page at its first access, together with neighbouring pages that a shuffled order does not
use. With MADV_RANDOM it reads no neighbours. With MADV_WILLNEED it reads all rows of a batch in parallel, before they
are used.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

MAPS = Path("/proc/self/maps")
"""File in which Linux lists the mapped memory ranges of this process."""

LINUX = sys.platform == "linux"
"""True on Linux. On other systems, no advice is given."""

PROCESS_MADVISE = 440
"""Number of the system call process_madvise, the same for all processors."""

IOV_MAX = 1024
"""Largest number of ranges in one system call."""


def is_mapped(images: Tensor) -> bool:
    """Return whether images are in a memory-mapped file. Return True if the system cannot report it."""
    if images.device.type != "cpu":
        return False
    if not MAPS.exists():
        return True
    address = images.data_ptr()
    # `splitlines` would also split at other characters, which file names may contain.
    for line in MAPS.read_text(errors="replace").rstrip("\n").split("\n"):
        # begin-end permissions offset device inode path. The inode is 0 for memory that is not a file.
        span, _, _, _, inode, *_ = line.split()
        begin, end = (int(bound, 16) for bound in span.split("-"))
        if begin <= address < end:
            return inode != "0"
    return False


def expect_random_access(images: Tensor) -> None:
    """Advise the kernel not to read neighbouring pages of mapped images (N, ...)."""
    _advise_all(images, "MADV_RANDOM")


@contextmanager
def sequential_access(images: Tensor) -> Iterator[None]:
    """Advise the kernel to read ahead in mapped images (N, ...) while the block runs, which uses them in order."""
    _advise_all(images, "MADV_NORMAL")
    try:
        yield
    finally:
        _advise_all(images, "MADV_RANDOM")


def _advise_all(images: Tensor, advice: str) -> None:
    if not LINUX or not images.is_contiguous() or not is_mapped(images):
        return
    page = images.data_ptr() - images.data_ptr() % mmap.PAGESIZE
    _advise(page, images.data_ptr() + images.nbytes - page, getattr(mmap, advice))


def read_ahead(images: Tensor, index: Tensor) -> None:
    """Advise the kernel to start reading rows of mapped images, without waiting for them.

    Args:
        images: (N, ...). If they are in memory, there is no effect.
        index: (n,) int64, the rows.
    """
    if not LINUX or not images.is_contiguous():
        return
    length = images[0].nbytes
    begin = images.data_ptr() + index * length
    # madvise requires addresses at the start of a page.
    page = begin - begin % mmap.PAGESIZE
    ranges = torch.stack([page, begin + length - page], dim=1)
    for part in ranges.split(IOV_MAX):
        if not _advise_in_one_call(part):
            for address, size in part.tolist():
                _advise(address, size, mmap.MADV_WILLNEED)


def _advise(address: int, size: int, advice: int) -> None:
    _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(advice))


def _advise_in_one_call(ranges: Tensor) -> bool:
    """Give MADV_WILLNEED for ranges, (n, 2) addresses and sizes, in one system call, which releases the GIL once.

    Return False if the call is not available. Linux has it since 5.10, before 6.13 only for the administrator.
    """
    if (process := _pidfd(os.getpid())) is None:
        return False
    pointer, count = ctypes.c_void_p(ranges.data_ptr()), ctypes.c_size_t(len(ranges))
    return bool(_libc().syscall(PROCESS_MADVISE, process, pointer, count, mmap.MADV_WILLNEED, 0) >= 0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _pidfd(process: int) -> int | None:
    """Return a file descriptor of a process (pidfd), or None if the system does not support it."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
