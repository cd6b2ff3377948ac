"""For all tests."""

import os

# A process for each core, of one thread: games this small only make threads wait for one another. Set before torch is
# imported, which reads it once; processes that tests start read it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


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


def pytest_collection_modifyitems(items):
    """A test that is played once for each device is one of the GPU's when it is the GPU's turn."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value == "cuda" for value in parameters):
            item.add_marker(pytest.mark.gpu)
