"""Peak memory of the current process, and of its tensors on a GPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

from gankit.runtime.device import accelerator_module

STATUS = Path("/proc/self/status")
"""Path to the file in which Linux reports the peak memory of this process.

The value from `getrusage` is less accurate, because it may include the memory of the program that started this process.
"""

GETRUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Unit of the memory size that `getrusage` returns, in bytes: 1 on macOS, 1024 on other systems."""


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return a dict with the peak memory of the whole process (key `process`), in bytes.

    If the device is a GPU, the dict also contains the peak memory of the tensors on the GPU (key `gpu`).
    """
    peak = {"process": peak_of_process()}
    max_memory_allocated = getattr(accelerator_module(device.type), "max_memory_allocated", None)
    if max_memory_allocated is not None:
        peak["gpu"] = max_memory_allocated(device)
    return peak


def peak_of_process() -> int:
    """Return the peak resident memory (RAM) of this process in bytes, or 0 if the system does not report it."""
    match = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    if match:
        return int(match[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows has no module `resource`
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GETRUSAGE_UNIT
