"""Tests of the cache on disk: keys, damage, folders without write access, concurrent processes."""

import errno
import os
import time
from multiprocessing import get_context

import pytest
import torch

from gankit.evaluation.feature_cache import cache_folder, disk_cache


def result(value):
    return lambda: ({"x": torch.full((1,), float(value))}, {"accuracy": value})


def value_of(entry):
    return entry[0]["x"].item()


def test_results_are_cached_by_key(cache):
    assert cache_folder() == cache
    for value in (1, 2):
        tensors, facts = disk_cache("thing", ["a", 1], result(value))
        assert (tensors["x"].tolist(), facts) == ([1.0], {"accuracy": 1})
    assert value_of(disk_cache("thing", ["a", 2], result(3))) == 3
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"] * 2


@pytest.mark.parametrize("damage", [lambda data: data[:20], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_a_damaged_file_is_computed_again(cache, damage):
    disk_cache("thing", 1, result(1))
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert value_of(disk_cache("thing", 1, result(2))) == 2


def test_without_write_access_results_are_computed_each_time(cache):
    cache.write_text("a file in place of the folder")
    assert value_of(disk_cache("thing", 1, result(1))) == 1
    assert value_of(disk_cache("thing", 1, result(2))) == 2


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks available"), NotImplementedError("no flock")])
def test_a_file_system_without_locks(monkeypatch, error):
    def acquire(*arguments, **options):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    assert [value_of(disk_cache("thing", 1, result(value))) for value in (1, 2)] == [1, 1]


def compute_slowly(log):
    def compute():
        with open(log, "a") as file:
            file.write("computed\n")
        time.sleep(0.3)
        return result(3)()

    assert value_of(disk_cache("thing", "slow", compute)) == 3


def compute_for_ever(started):
    def compute():
        started.set()
        time.sleep(600)

    disk_cache("thing", "slow", compute)


def test_one_of_several_processes_computes(cache, tmp_path):
    context = get_context("fork")
    processes = [context.Process(target=compute_slowly, args=(tmp_path / "log",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "computed\n"
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_killed_process_leaves_no_lock():
    context = get_context("fork")
    started = context.Event()
    process = context.Process(target=compute_for_ever, args=(started,), daemon=True)
    process.start()
    assert started.wait(30)
    process.kill()
    process.join()
    assert value_of(disk_cache("thing", "slow", result(2))) == 2


def test_an_error_of_the_computation_releases_the_lock():
    with pytest.raises(ZeroDivisionError):
        disk_cache("thing", 1, lambda: 1 / 0)
    assert value_of(disk_cache("thing", 1, result(1))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder(cache):
    cache.mkdir(mode=0o555)
    assert [value_of(disk_cache("thing", 1, result(value))) for value in (1, 2)] == [1, 2]
