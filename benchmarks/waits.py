"""Counts the operations of an iteration that make the CPU wait for the GPU.

On a GPU, torch reports them (`torch.cuda.set_sync_debug_mode`). On a CPU, the operations are counted that would wait on
a GPU: those that read a tensor as a number, return a tensor whose size depends on values, or copy a Python number into
a tensor.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import torch
from timing import Loop
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    # A copy of Python numbers from ordinary memory, which waits on a GPU.
    aten.lift_fresh,
}


class Waits(TorchDispatchMode):
    """Context that counts the operations that wait for a GPU, or would."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in WAITING or (func.overloadpacket is aten.index and _is_mask(args[1])):
            self.counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))


def _is_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def waits_of(loop: Loop, device: torch.device) -> dict[str, int]:
    """Return the number of waits in one call, by operation on a CPU and by source line on a GPU."""
    if device.type == "cuda":
        return _on_gpu(loop)
    with Waits() as waits:
        loop()
    return dict(waits.counts)


def _on_gpu(loop: Loop) -> dict[str, int]:
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            loop()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    # Torch also warns that the debug mode is a prototype.
    waiting = [w for w in caught if "called a synchronizing" in str(w.message)]
    return dict(Counter(f"{w.filename.rpartition('site-packages/')[2]}:{w.lineno}" for w in waiting))


def most_of(loop: Loop, device: torch.device, iterations: int) -> dict[str, int]:
    """Return the waits of the call with the most, of several: some plugins act in few iterations only."""
    return max((waits_of(loop, device) for _ in range(iterations)), key=lambda waits: sum(waits.values()))
