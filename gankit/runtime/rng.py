"""Random state: functions that seed, save and restore all global random number generators."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from gankit.runtime.device import accelerator_module, accelerators


def derived_seed(seed: int, purpose: str) -> int:
    """Derive a seed for one purpose, such as `training`, from `seed`.

    The random numbers for different purposes are then independent of each other.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7])


def training_seed(seed: int, rank: int) -> int:
    """Return the training seed of a rank. Rank 0 has the same seed as a run with a single process."""
    return derived_seed(seed, f"training/{rank}" if rank else "training")


def seed_all(seed: int) -> None:
    """Seed all global random number generators of Python, NumPy and torch (on all devices)."""
    if accelerators():
        torch.manual_seed(seed)
    else:
        # torch.manual_seed also prepares accelerators that are absent, which takes a hundred times as long.
        torch.default_generator.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


@dataclass(frozen=True)
class RandomState:
    """State of the global random number generators of Python, NumPy and torch."""

    python: tuple[Any, ...]
    numpy_state: tuple[Any, ...]
    torch_states: dict[str, Tensor]
    """States of PyTorch's random number generators, by device type: `cpu`, and the type of the accelerator, if any."""

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Return the state of the global random number generators.

        If `device` is an accelerator, the state includes its random number generator.
        """
        states = {"cpu": torch.get_rng_state()}
        if (module := accelerator_module(device.type)) is not None:
            states[device.type] = module.get_rng_state(device)
        state: Any = numpy.random.get_state()
        return cls(random.getstate(), state, states)

    def restore(self, device: torch.device) -> None:
        """Set the global random number generators to this state.

        If `device` is an accelerator, its random number generator is also set.
        """
        random.setstate(self.python)
        numpy.random.set_state(self.numpy_state)
        torch.set_rng_state(self.torch_states["cpu"])
        # A random state that was saved in a run on the CPU contains no state of an accelerator. If this state is
        # restored in a run on an accelerator, the accelerator's random state stays unchanged.
        module = accelerator_module(device.type)
        if module is not None and device.type in self.torch_states:
            module.set_rng_state(self.torch_states[device.type], device)

    def to_json(self) -> dict[str, Any]:
        """Return the random states of Python and NumPy as JSON values. The states of PyTorch are not included."""
        version, numbers, gauss = self.python
        kind, keys, *rest = self.numpy_state
        return {"python_random": [version, list(numbers), gauss], "numpy_random": [kind, keys.tolist(), *rest]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], torch_states: dict[str, Tensor]) -> RandomState:
        """Rebuild the random state from the result of `to_json` and PyTorch's random states."""
        version, numbers, gauss = values["python_random"]
        return cls((version, tuple(numbers), gauss), tuple(values["numpy_random"]), torch_states)


@contextmanager
def fork_rng(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Seed all random number generators for the `with` block, and restore their states afterwards."""
    before = RandomState.capture(device)
    try:
        seed_all(seed)
        yield
    finally:
        before.restore(device)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode for the `with` block. Afterwards, restore the mode of each of its modules."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
