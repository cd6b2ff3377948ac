"""Tests of the cache on disk: keys, damage, folders without write access, concurrent processes."""

import errno
import os
import time
from multiprocessing import get_context

import pytest
import torch

from gankit.evaluation.feature_cache import cache_folder, disk_cache


def cached(value, key=1):
    """Return the number from the cache, or compute it."""
    tensors, facts = disk_cache("thing", key, lambda: ({"x": torch.tensor([float(value)])}, {"accuracy": value}))
    assert facts == {"accuracy": tensors["x"].item()}
    return facts["accuracy"]


def test_results_are_cached_by_key(cache):
    assert cache_folder() == cache
    assert [cached(1, ["a", 1]), cached(2, ["a", 1]), cached(3, ["a", 2])] == [1, 1, 3]
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"] * 2


@pytest.mark.parametrize("damage", [lambda data: data[:20], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_a_damaged_file_is_computed_again(cache, damage):
    cached(1)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cached(2) == 2


def test_without_write_access_results_are_computed_each_time(cache):
    cache.write_text("a file in place of the folder")
    assert [cached(1), cached(2)] == [1, 2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder(cache):
    cache.mkdir(mode=0o555)
    assert [cached(1), cached(2)] == [1, 2]


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks available"), NotImplementedError("no flock")])
def test_a_file_system_without_locks(monkeypatch, error):
    def acquire(*arguments, **options):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    assert [cached(1), cached(2)] == [1, 1]


def test_one_of_several_processes_computes(cache, tmp_path):
    def compute():
        with open(tmp_path / "log", "a") as file:
            file.write("computed\n")
        time.sleep(0.3)
        return {"x": torch.ones(1)}, {}

    context = get_context("fork")
    processes = [context.Process(target=disk_cache, args=("thing", 1, compute)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "computed\n"
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_killed_process_or_an_error_leaves_no_lock():
    def compute():
        started.set()
        time.sleep(600)

    context = get_context("fork")
    started = context.Event()
    process = context.Process(target=disk_cache, args=("thing", 1, compute), daemon=True)
    process.start()
    assert started.wait(30)
    process.kill()
    process.join()
    with pytest.raises(ZeroDivisionError):
        disk_cache("thing", 1, lambda: 1 / 0)
    assert cached(2) == 2
