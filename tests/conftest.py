"""For all tests."""

import os

# A process for each core, of one thread: games this small only make threads wait for one another. Set before torch is
# imported, which reads it once; processes that tests start read it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts torch's operations, forwards and backwards, by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket.__name__.partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def CountedOperations():  # noqa: N802
    return Operations


def pytest_collection_modifyitems(items):
    """A test that is played once for each device is one of the GPU's when it is the GPU's turn."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value == "cuda" for value in parameters):
            item.add_marker(pytest.mark.gpu)
