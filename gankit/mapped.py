"""Images that lie in a mapped file: told from those in memory, and asked of the disk a whole batch at once.

Touching a page that is not in memory waits for the disk, and brings its neighbours along, which are of no use to a
shuffled order. So the kernel is told of all rows of a batch before the first is touched: it fetches them side by side,
and nothing besides.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

MAPS = Path("/proc/self/maps")
"""Where Linux says what lies where in this process's memory."""

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
    for line in MAPS.read_text(errors="replace").splitlines():
        # begin-end permissions offset device inode path; what is no file has inode 0.
        span, _, _, _, inode, *_ = line.split()
        low, high = (int(address, 16) for address in span.split("-"))
        if low <= begin < high:
            return inode != "0"
    return False


def fetch(images: Tensor, index: Tensor) -> None:
    """Has the kernel begin to read rows of a mapped file. Waits for none of them; in memory they are left alone.

    It is advice: where it cannot be given, each row is read when it is touched.

    Args:
        images: (N, ...), contiguous.
        index: (n,) int64, the rows.
    """
    # Other systems, and Linux before 5.10, know no such call.
    if (process := _known_as(os.getpid())) is None or not images.is_contiguous():
        return
    length = images[0].nbytes
    begin = images.data_ptr() + index * length
    from_page = begin - begin % mmap.PAGESIZE
    ranges = torch.stack([from_page, begin + length - from_page], dim=1)
    for some in ranges.split(AT_ONCE):
        where, count = ctypes.c_void_p(some.data_ptr()), ctypes.c_size_t(len(some))
        # The interpreter is let go meanwhile, as it would not be between many calls of madvise.
        _libc().syscall(PROCESS_MADVISE, process, where, count, mmap.MADV_WILLNEED, 0)


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
