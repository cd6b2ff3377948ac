"""Peak memory of a process."""

import subprocess
import sys

import torch

from gankit.runtime.peak_memory import TensorMemory, peak_memory

LARGE = 300_000_000
SMALL_CHILD = "from gankit.runtime.peak_memory import peak_of_process; print(peak_of_process())"
LARGE_PARENT = f"""
import subprocess, sys
held = bytearray({4 * LARGE})
held[::4096] = b"x" * len(held[::4096])
subprocess.run([sys.executable, "-c", {SMALL_CHILD!r}], check=True)
"""


def test_freed_memory_counts():
    before = peak_memory(torch.device("cpu"))["process"]
    tensor = torch.ones(before // 4 + LARGE // 4)
    assert peak_memory(torch.device("cpu"))["process"] > before + LARGE // 2
    del tensor
    assert peak_memory(torch.device("cpu"))["process"] > before + LARGE // 2


def test_the_memory_of_a_parent_process_does_not_count():
    result = subprocess.run([sys.executable, "-c", LARGE_PARENT], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 3 * LARGE


def test_memory_of_tensors_is_the_most_that_exists_at_once():
    kept = torch.zeros(1000, requires_grad=True)
    with TensorMemory() as memory:
        a = torch.ones(1000)
        a.add_(1)  # no new memory
        view = a.view(10, 100)
        del a, view
        assert memory.current == 0
        (kept.exp() + torch.ones(500).sum()).sum().backward()
    assert memory.current == 4000  # the gradient
    assert 3 * 4000 >= memory.peak >= 2 * 4000
