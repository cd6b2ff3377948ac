"""Images that lie in a mapped file: told from those in memory, and asked of the disk a whole batch at once.

Touching a page that is not in memory waits for the disk, and brings its neighbours along, which are of no use to a
shuffled order. So the kernel is told that there is no order, and of all rows of a batch before the first is touched: it
fetches them side by side, and nothing besides.
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
"""Where Linux says what lies where in this process's memory."""

LINUX = sys.platform == "linux"
"""Elsewhere no advice is given."""

PROCESS_MADVISE = 440
"""The system call's number, on every processor."""

AT_ONCE = 1024
"""Ranges that one call takes: IOV_MAX."""


def is_mapped(images: Tensor) -> bool:
    """Whether images lie in a file rather than in memory. Where the system does not say, they may."""
    if images.device.type != "cpu":
        return False
    if not MAPS.exists():
        return True
    begin = images.data_ptr()
    # Not splitlines: a file's name may hold what that takes for the end of a line.
    for line in MAPS.read_text(errors="replace").rstrip("\n").split("\n"):
        # begin-end permissions offset device inode path; what is no file has inode 0.
        span, _, _, _, inode, *_ = line.split()
        low, high = (int(address, 16) for address in span.split("-"))
        if low <= begin < high:
            return inode != "0"
    return False


def expect_no_order(images: Tensor) -> None:
    """Has the kernel bring no neighbours along when a row of a mapped file is touched. Advice, as in `fetch`.

    Args:
        images: (N, ...), contiguous.
    """
    _advise_all(images, "MADV_RANDOM")


@contextmanager
def sequential_access(images: Tensor) -> Iterator[None]:
    """Has the kernel read ahead in a mapped file, whose rows are touched from the first to the last meanwhile.

    Args:
        images: (N, ...), contiguous; in no order again behind it.
    """
    _advise_all(images, "MADV_NORMAL")
    try:
        yield
    finally:
        _advise_all(images, "MADV_RANDOM")


def _advise_all(images: Tensor, advice: str) -> None:
    if not LINUX or not images.is_contiguous() or not is_mapped(images):
        return
    from_page = images.data_ptr() - images.data_ptr() % mmap.PAGESIZE
    _advise(from_page, images.data_ptr() + images.nbytes - from_page, getattr(mmap, advice))


def fetch(images: Tensor, index: Tensor) -> None:
    """Has the kernel begin to read rows of a mapped file. Waits for none of them; in memory they are left alone.

    It is advice: where it cannot be given, each row is read when it is touched.

    Args:
        images: (N, ...), contiguous.
        index: (n,) int64, the rows.
    """
    if not LINUX or not images.is_contiguous():
        return
    length = images[0].nbytes
    begin = images.data_ptr() + index * length
    from_page = begin - begin % mmap.PAGESIZE
    ranges = torch.stack([from_page, begin + length - from_page], dim=1)
    for some in ranges.split(AT_ONCE):
        if not _fetched_at_once(some):
            for address, size in some.tolist():
                _advise(address, size, mmap.MADV_WILLNEED)


def _advise(address: int, size: int, advice: int) -> None:
    _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(advice))


def _fetched_at_once(ranges: Tensor) -> bool:
    """Whether one call has asked for all ranges, (n, 2) addresses and sizes; it lets the interpreter go but once.

    Linux knows it from 5.10 on, and until 6.13 it was for the administrator alone.
    """
    if (process := _known_as(os.getpid())) is None:
        return False
    where, count = ctypes.c_void_p(ranges.data_ptr()), ctypes.c_size_t(len(ranges))
    return bool(_libc().syscall(PROCESS_MADVISE, process, where, count, mmap.MADV_WILLNEED, 0) >= 0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _known_as(process: int) -> int | None:
    """What the system call knows a process by; None where there is no such thing."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
