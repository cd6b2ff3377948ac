"""How much memory a run took at most."""

from __future__ import annotations

import resource
import sys

import torch

KIBIBYTE = 1 if sys.platform == "darwin" else 1024
"""Of what the system counts the memory of a process in; macOS counts in bytes."""


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at most so far: of the whole process, libraries and data included, and of tensors on a GPU."""
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device)
    return peak
