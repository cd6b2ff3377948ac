"""Options of glibc's memory allocator that keep freed memory for later allocations.

Each training step allocates and frees large blocks of memory of the same sizes. By default, glibc maps new memory for
each block. The first access to each page of this memory causes a page fault, and the kernel fills the page with zeros.
With images of 96x96 pixels, these page faults take up to 40% of the time of a step.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
ONE_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Configure glibc to keep freed memory of this process for later allocations of less than 1 GiB.

    Return True if the options are set. Return False with other C libraries, which do not have these options.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # glibc does not keep freed blocks that are larger than M_MMAP_THRESHOLD. Older versions of glibc accept a threshold
    # of at most 32 MiB, so retry with 32 MiB.
    mapped = mallopt(M_MMAP_THRESHOLD, ONE_GIB) or mallopt(M_MMAP_THRESHOLD, 32 << 20)
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mapped)
