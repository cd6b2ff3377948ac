"""Where an iteration makes the CPU wait for the device, part by part.

On a GPU torch itself says so (`torch.cuda.set_sync_debug_mode`). On a CPU, where nothing is waited for, those
operations are counted that would wait on a GPU: a tensor read as a number, a tensor whose size depends on values, a
number copied into a tensor.
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
    # Of Python's numbers: on a GPU it is a copy out of ordinary memory, which waits.
    aten.lift_fresh,
}


class Waits(TorchDispatchMode):
    """Counts the operations inside that wait for a GPU, or would."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in WAITING or (func.overloadpacket is aten.index and _by_mask(args[1])):
            self.counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def waits_of(loop: Loop, device: torch.device) -> dict[str, int]:
    """How often one call waits, by what it waits at."""
    return _on_gpu(loop) if device.type == "cuda" else _on_cpu(loop)


def _on_cpu(loop: Loop) -> dict[str, int]:
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
    # The warning stands where Python called: file and line.
    found = [w for w in caught if "synchroniz" in str(w.message)]
    return dict(Counter(f"{w.filename.rpartition('site-packages/')[2]}:{w.lineno}" for w in found))


def most_of(loop: Loop, device: torch.device, iterations: int) -> dict[str, int]:
    """Of several calls the one that waits most often; tricks that look now and then do not look each time."""
    return max((waits_of(loop, device) for _ in range(iterations)), key=lambda found: sum(found.values()))
