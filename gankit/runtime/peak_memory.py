"""Peak memory of a process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
"""File in which Linux reports the peak memory of this program. `getrusage` may include the program that started it."""

GETRUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Unit of `getrusage` in bytes."""


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return the peak memory in bytes: of the whole process, and of tensors on a GPU."""
    peak = {"process": peak_of_process()}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device)
    return peak


def peak_of_process() -> int:
    """Return the peak resident memory of this process in bytes, with libraries and data."""
    match = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(match[1]) * 1024 if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GETRUSAGE_UNIT
