"""Looking at a network without leaving a trace in how the run goes on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn


def seed_all(seed: int) -> None:
    """Seeds every global generator of random numbers: torch's on all devices, Python's and numpy's."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and back in its own afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def own_randomness(device: torch.device, seed: int = 0) -> Iterator[None]:
    """A random state of one's own inside, so that looking at a run does not change it."""
    python, of_numpy = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seed_all(seed)
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(of_numpy)


class RandomState(NamedTuple):
    """The state of every global generator of random numbers."""

    python: Any
    of_numpy: Any
    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """As it is, for a game on a device."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda)

    def bring_back(self, device: torch.device) -> None:
        random.setstate(self.python)
        numpy.random.set_state(self.of_numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)


def derived_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that what one part draws never shifts what another does."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7])


def training_seed(seed: int, rank: int) -> int:
    """Of what a rank draws at random while it plays; the first draws what a process alone does."""
    return derived_seed(seed, f"training/{rank}" if rank else "training")
