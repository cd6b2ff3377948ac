"""For all tests."""

import os

# A process for each core, of one thread: games this small only make threads wait for one another. Set before torch is
# imported, which reads it once; processes that tests start read it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")


class Operations(TorchDispatchMode):
    """Counts torch's operations, forwards and backwards, by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket.__name__.partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


class WaitsFor(Operations):
    """Notes the operations that hand a tensor's value to Python, or take their size from one: a GPU is waited for."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__.partition(".")[0]
        on_boolean = name == "index" and any(t is not None and t.dtype == torch.bool for t in args[1])
        if name in self.WAITING or on_boolean:
            self.found.append(name)
        return super().__torch_dispatch__(function, types, args, kwargs)


@pytest.fixture
def Waits():  # noqa: N802
    return WaitsFor


@pytest.fixture
def CountedOperations():  # noqa: N802
    return Operations


@pytest.fixture
def benchmarks(monkeypatch):
    """Makes the modules in benchmarks/ importable. They are no package: each is a program."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(BENCHMARKS):
            del sys.modules[name]
