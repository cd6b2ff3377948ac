"""How much memory a run took at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
"""Where Linux says it of the program that runs. What `getrusage` says may be of the one that started it."""

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which `getrusage` counts."""


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at most so far: of the whole process, libraries and data included, and of tensors on a GPU."""
    peak = {"process": peak_of_process()}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device)
    return peak


def peak_of_process() -> int:
    """Bytes of memory at most so far."""
    said = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(said[1]) * 1024 if said else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
