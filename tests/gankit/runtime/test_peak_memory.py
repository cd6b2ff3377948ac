import subprocess
import sys

import torch

from gankit.runtime.peak_memory import peak_memory

LARGE = 300_000_000
SMALL_CHILD = "from gankit.runtime.peak_memory import peak_of_process; print(peak_of_process())"
LARGE_PARENT = f"""
import subprocess, sys
held = bytearray({4 * LARGE})
held[::4096] = b"x" * len(held[::4096])
subprocess.run([sys.executable, "-c", {SMALL_CHILD!r}], check=True)
"""


def test_what_was_taken_is_seen():
    before = peak_memory(torch.device("cpu"))["process"]
    taken = torch.ones(before // 4 + LARGE // 4)
    assert peak_memory(torch.device("cpu"))["process"] > before + LARGE // 2
    del taken
    assert peak_memory(torch.device("cpu"))["process"] > before + LARGE // 2


def test_the_memory_of_a_program_that_starts_another_is_not_that_ones():
    answer = subprocess.run([sys.executable, "-c", LARGE_PARENT], capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 3 * LARGE
