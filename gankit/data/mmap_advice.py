"""Detection of memory-mapped images, and advice to the kernel about how this process reads them (madvise).

By default, when a page of a mapped file is first accessed, the kernel reads this page and neighbouring pages. If images
are read in shuffled order, the neighbouring pages are not needed. With MADV_RANDOM, the kernel does not read
neighbouring pages. With MADV_WILLNEED, the kernel reads all images of a batch in parallel, before they are used.
"""

from __future__ import annotations

import ctypes
import math
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
"""File in which Linux lists the memory mappings of this process."""

LINUX = sys.platform == "linux"
"""True on Linux, the only system on which madvise is called."""

PROCESS_MADVISE = 440
"""System call number of process_madvise, which is the same on all processor architectures."""

IOV_MAX = 1024
"""Maximum number of memory ranges in one call of process_madvise."""


def is_mapped(images: Tensor) -> bool:
    """Return True if the images are in a memory-mapped file, or if the system does not list memory mappings."""
    if images.device.type != "cpu":
        return False
    if not MAPS.exists():
        return True
    address = images.data_ptr()
    # `splitlines` is not used here, because it also splits at form feeds and similar characters. File names may contain
    # these characters.
    for line in MAPS.read_text(errors="replace").rstrip("\n").split("\n"):
        # Format of a line: begin-end permissions offset device inode path. The inode is 0 for anonymous memory (memory
        # without a file).
        span, _, _, _, inode, *_ = line.split()
        begin, end = (int(bound, 16) for bound in span.split("-"))
        if begin <= address < end:
            return inode != "0"
    return False


def has_dense_rows(images: Tensor) -> bool:
    """Return True if the images (N, ...) follow each other in memory. Their channels may be last in memory."""
    return images.stride(0) == math.prod(images.shape[1:])


def expect_random_access(images: Tensor) -> None:
    """Advise the kernel to read only the accessed pages of memory-mapped images (N, ...)."""
    _advise_all(images, "MADV_RANDOM")


@contextmanager
def sequential_access(images: Tensor) -> Iterator[None]:
    """Advise the kernel to read ahead in memory-mapped images (N, ...) while the `with` block reads them in order."""
    _advise_all(images, "MADV_NORMAL")
    try:
        yield
    finally:
        _advise_all(images, "MADV_RANDOM")


def _advise_all(images: Tensor, advice: str) -> None:
    if not LINUX or not has_dense_rows(images) or not is_mapped(images):
        return
    page = images.data_ptr() - images.data_ptr() % mmap.PAGESIZE
    _advise(page, images.data_ptr() + images.nbytes - page, getattr(mmap, advice))


def read_ahead(images: Tensor, index: Tensor) -> None:
    """Advise the kernel to start reading some of the memory-mapped images. Return before the kernel has read them.

    Args:
        images: (N, ...). If the images are in memory already, the advice has no effect.
        index: (n,) int64, indices of the images to read.
    """
    if not LINUX or not has_dense_rows(images):
        return
    length = images[0].nbytes
    begin = images.data_ptr() + index * length
    # madvise requires start addresses that are multiples of the page size.
    page = begin - begin % mmap.PAGESIZE
    ranges = torch.stack([page, begin + length - page], dim=1)
    for part in ranges.split(IOV_MAX):
        if not _advise_in_one_call(part):
            for address, size in part.tolist():
                _advise(address, size, mmap.MADV_WILLNEED)


def _advise(address: int, size: int, advice: int) -> None:
    _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(advice))


def _advise_in_one_call(ranges: Tensor) -> bool:
    """Advise the kernel to read n memory ranges (MADV_WILLNEED), with a single system call (process_madvise).

    With one call, Python releases the GIL only once. Return False if process_madvise is not available. This system call
    requires Linux 5.10 or newer, and administrator rights before Linux 6.13.

    Args:
        ranges: (n, 2) int64, the address and the size in bytes of each range.
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
    """Return a file descriptor that refers to a process (pidfd), or None if the system does not support pidfds."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
