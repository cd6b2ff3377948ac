"""Random state: seeds, saving and restoring of all generators, and blocks that do not change it."""

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


def derived_seed(seed: int, purpose: str) -> int:
    """Return a seed for one purpose. Random numbers for different purposes are independent of each other."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7])


def training_seed(seed: int, rank: int) -> int:
    """Return the seed of a rank for training. The first rank has the same seed as a single process."""
    return derived_seed(seed, f"training/{rank}" if rank else "training")


def seed_all(seed: int) -> None:
    """Seed every global random generator: torch's on all devices, Python's and NumPy's."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


@dataclass(frozen=True)
class RandomState:
    """State of every global random generator."""

    python: tuple[Any, ...]
    numpy_state: tuple[Any, ...]
    torch_states: dict[str, Tensor]
    """State of torch's generators: `cpu`, and `cuda` for a run on a GPU."""

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Return the current state, for a run on `device`."""
        states = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(device)
        state: Any = numpy.random.get_state()
        return cls(random.getstate(), state, states)

    def restore(self, device: torch.device) -> None:
        """Restore this state, for a run on `device`."""
        random.setstate(self.python)
        numpy.random.set_state(self.numpy_state)
        torch.set_rng_state(self.torch_states["cpu"])
        # A run that moves to a GPU has no state for the GPU's generator. Then the generator stays as it was seeded.
        if device.type == "cuda" and "cuda" in self.torch_states:
            torch.cuda.set_rng_state(self.torch_states["cuda"], device)

    def to_json(self) -> dict[str, Any]:
        """Return the states of Python's and NumPy's generators as JSON values."""
        version, numbers, gauss = self.python
        kind, keys, *rest = self.numpy_state
        return {"python_random": [version, list(numbers), gauss], "numpy_random": [kind, keys.tolist(), *rest]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], torch_states: dict[str, Tensor]) -> RandomState:
        """Return the state with the values of `to_json` and these states of torch."""
        version, numbers, gauss = values["python_random"]
        return cls((version, tuple(numbers), gauss), tuple(values["numpy_random"]), torch_states)


@contextmanager
def fork_rng(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Run a block with a given seed. Restore the random state afterwards."""
    before = RandomState.capture(device)
    try:
        seed_all(seed)
        yield
    finally:
        before.restore(device)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a block. Restore the mode of each module afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
