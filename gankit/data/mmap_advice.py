"""Images in a memory-mapped file: detection, and advice to the kernel on the order of access (madvise).

The first access to a page that is not in memory waits for the disk, and also reads neighbouring pages, which a shuffled
order does not use. So the advice is to expect random access, and to read all rows of a batch before the first of them
is used. The kernel then reads them in parallel, and nothing else.
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
"""Linux's list of the mapped ranges of this process's memory."""

LINUX = sys.platform == "linux"
"""True on Linux. On other systems there is no advice."""

PROCESS_MADVISE = 440
"""Number of the system call process_madvise, equal on every processor."""

IOV_MAX = 1024
"""Largest number of ranges in one system call."""


def is_mapped(images: Tensor) -> bool:
    """Return whether images are in a mapped file and not in ordinary memory. True if the system does not show it."""
    if images.device.type != "cpu":
        return False
    if not MAPS.exists():
        return True
    address = images.data_ptr()
    # `splitlines` would also split at other characters, which names of files may contain.
    for line in MAPS.read_text(errors="replace").rstrip("\n").split("\n"):
        # begin-end permissions offset device inode path. The inode is 0 for memory that is not a file.
        span, _, _, _, inode, *_ = line.split()
        begin, end = (int(bound, 16) for bound in span.split("-"))
        if begin <= address < end:
            return inode != "0"
    return False


def expect_random_access(images: Tensor) -> None:
    """Advise the kernel not to read neighbouring pages of a mapped file.

    Args:
        images: (N, ...), contiguous.
    """
    _advise_all(images, "MADV_RANDOM")


@contextmanager
def sequential_access(images: Tensor) -> Iterator[None]:
    """Advise the kernel to read ahead in a mapped file for a block that uses its rows in order.

    Args:
        images: (N, ...), contiguous. Afterwards the kernel expects random access again.
    """
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
    """Advise the kernel to start reading rows of a mapped file, without waiting for them.

    It has no effect on images in memory. Without the advice, each row is read when it is first used.

    Args:
        images: (N, ...), contiguous.
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
    """Advise on all ranges, (n, 2) addresses and sizes, in one system call. Return False if it is not available.

    Releases the GIL once. Linux has the call since 5.10, and before 6.13 for the administrator only.
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
    """Return the file descriptor that stands for a process in system calls, or None if the system has none."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
