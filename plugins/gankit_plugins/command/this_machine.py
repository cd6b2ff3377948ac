"""Facts about this machine that the choice of a recipe depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from gankit import InputError


@dataclass(frozen=True)
class Machine:
    """Facts about a machine."""

    cores: int
    """Number of CPU cores that this process may use."""

    memory: int | None
    """Main memory in bytes, or None if it is unknown."""

    gpu: str | None = None
    """Name of the accelerator that a run would use, or None if it would use the CPU."""

    def describe(self) -> str:
        """Return the facts as text, such as `2 CPU cores, 16 GB of memory, no GPU`."""
        memory = [] if self.memory is None else [f"{self.memory / 1e9:.0f} GB of memory"]
        return ", ".join([f"{self.cores} CPU core{'s' * (self.cores > 1)}", *memory, self.gpu or "no GPU used"])


def this_machine(device: str) -> Machine:
    """Return the facts about this machine for a run on a device, such as `auto`, `cpu` or `cuda:1`.

    Raises:
        InputError: the device does not exist.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    kind = device
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        kind = "cpu" if accelerator is None else accelerator.type
    try:
        chosen = torch.device(kind)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise InputError(f"--device {device}: cannot be used here; use auto, cpu, cuda or cuda:1") from error
    if chosen.type == "cpu":
        return Machine(cores, memory)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    return Machine(cores, memory, name)
