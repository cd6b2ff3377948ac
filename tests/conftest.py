"""Settings and fixtures of all tests."""

import os

# One thread for each process, because in runs this small threads only wait for each other. Torch reads the variable
# once, at its import, and so do the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counter of torch's operations, forward and backward, by name."""

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
    """Mark tests with the parameter `cuda` as GPU tests."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value == "cuda" for value in parameters):
            item.add_marker(pytest.mark.gpu)
