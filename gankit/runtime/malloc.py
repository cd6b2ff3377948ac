"""Options of glibc's memory allocator that keep freed memory.

A training step allocates and frees the same large blocks again and again. By default, glibc maps each block anew, and
the kernel zeroes all of its pages. At 96x96 pixels, the page faults take up to 40% of the time of a step.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
ONE_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Allocate blocks below 1 GiB on the heap, and never return the heap to the system, in the whole process.

    Return whether the options are set. They exist only in glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Older versions of glibc accept at most 32 MiB as the threshold for mapped blocks.
    mapped = mallopt(M_MMAP_THRESHOLD, ONE_GIB) or mallopt(M_MMAP_THRESHOLD, 32 << 20)
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mapped)
