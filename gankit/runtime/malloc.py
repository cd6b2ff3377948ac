"""Options of glibc's memory allocator that keep freed memory for later allocations.

Every training step allocates and frees the same large blocks of memory. By default, glibc maps new memory for each
block, and the kernel fills all its pages with zeros. With images of 96x96 pixels, these page faults take up to 40% of
the time of a step.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
ONE_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Make glibc allocate blocks below 1 GiB on the heap and keep freed heap memory. This affects the whole process.

    Return True if the options are set. Return False with other C libraries, which do not have these options.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # glibc maps larger blocks separately. Older versions accept at most 32 MiB as this threshold, so retry with 32 MiB.
    mapped = mallopt(M_MMAP_THRESHOLD, ONE_GIB) or mallopt(M_MMAP_THRESHOLD, 32 << 20)
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mapped)
