"""Memory that a process may use, and errors that mean that there is not enough."""

import resource
import subprocess
import sys

import pytest
import torch

from gankit.runtime import memory_limit as module
from gankit.runtime.memory_limit import is_out_of_memory, memory_limit


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP_LIMITS", (tmp_path / "max", tmp_path / "limit"))
    monkeypatch.setattr(module, "_address_space", lambda: None)
    return tmp_path


def test_the_smallest_limit_counts(files):
    assert memory_limit() is None
    (files / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 7000 kB\nSwapFree: 1000 kB\n")
    assert memory_limit() == 8000 * 1024
    (files / "max").write_text("max\n")
    assert memory_limit() == 8000 * 1024
    (files / "limit").write_text("4096\n")
    assert memory_limit() == 4096


def test_the_limit_of_the_process_counts():
    code = "from gankit.runtime.memory_limit import memory_limit; print(memory_limit())"
    limit = 200 * 2**20
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert int(ended.stdout) == limit


def test_errors_of_an_allocation_are_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
