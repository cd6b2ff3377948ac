"""Peak memory of the current process, of its tensors on a GPU, and of the tensors of a `with` block on any device."""

from __future__ import annotations

import re
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


class TensorMemory(TorchDispatchMode):
    """Context manager that measures the memory of the tensors that are allocated in its `with` block, on any device.

    The backward pass is included. Temporary memory inside of an operator is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        """Bytes of the tensors from the block that exist now, and their largest number so far."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A view and the result of an in-place operator share the storage of an input.
        known = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in known:
                known.add(storage._cdata)
                self._change(storage.nbytes())
                weakref.finalize(storage, self._change, -storage.nbytes())
        return result

    def _change(self, count: int) -> None:
        self.current += count
        self.peak = max(self.peak, self.current)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]
