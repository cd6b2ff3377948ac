"""Decoding of many files by worker processes: order, bounded memory, errors, and the end of the processes."""

import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from gankit import GankitError
from gankit_plugins.data import decode_all as module
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import decode
from gankit_plugins.data.decode_all import decode_all
from tests.plugins.data.image_files import colour, encoded, plain, png_of_size


def decode_files(files, resolution=4, channels=1):
    """Decode a dictionary of paths, contents or exceptions by name."""

    def open_file(name):
        if isinstance(files[name], Exception):
            raise files[name]
        return files[name]

    results = list(decode_all(files, open_file, (resolution, resolution), channels))
    assert [name for name, _, _ in results] == list(files)
    return [image for _, image, _ in results]


@pytest.fixture
def pools(monkeypatch):
    """Two cores, whatever the machine has, and small batches. Lists the pools that are started."""
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pools.append(self)

    monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(module, "BATCH", 8)
    return pools


def test_many_files_are_decoded_in_order_as_by_decode(pools, tmp_path):
    photo = encoded(Image.effect_noise((60, 50), 80).convert("RGB"), "JPEG")
    path = tmp_path / "newline\nand \udcff.jpg"
    path.write_bytes(photo)
    bad = {"text": b"\xff not an image", "gone": f"{tmp_path}/gone.png", "unreadable": ImageError("encrypted")}
    files = {f"{i}.png": encoded(plain("L", i)) for i in range(40)} | {"photo": photo, "path": str(path)} | bad
    *images, from_bytes, from_path, text, gone, unreadable = decode_files(files)
    assert [colour(image) for image in images] == [[i] for i in range(40)]
    assert (
        bytes(from_bytes.flatten().tolist()) == bytes(from_path.flatten().tolist()) == decode(photo, (4, 4), 1).pixels
    )
    assert [type(error) for error in (text, gone, unreadable)] == [ImageError] * 3
    assert str(text) == "not an image, or not of a supported format"
    assert str(gone) == f"[Errno 2] No such file or directory: '{tmp_path}/gone.png'"
    assert str(unreadable) == "encrypted"
    assert len(pools) == 1
    assert not pools[0]._processes


def test_many_files_are_decoded_without_signal_masks(pools, monkeypatch):
    """Windows has none."""
    monkeypatch.delattr(module.signal, "pthread_sigmask")
    images = decode_files({f"{i}.png": encoded(plain("L", i)) for i in range(20)})
    assert [colour(image) for image in images] == [[i] for i in range(20)]
    assert len(pools) == 1


def test_few_files_are_decoded_without_a_process(pools):
    first, bad = decode_files({"a.png": encoded(plain("L", 1)), "b.png": b"text"})
    assert colour(first) == [1]
    assert isinstance(bad, ImageError)
    assert decode_files({}) == []
    assert not pools


def test_a_few_files_are_read_ahead_and_no_process_is_left(pools):
    opened = []

    def open_file(name):
        opened.append(name)
        return encoded(plain("L", 1))

    stream = decode_all((str(i) for i in range(2000)), open_file, (4, 4), 1)
    for _ in range(10):
        next(stream)
    processes = list(pools[0]._processes.values())
    stream.close()
    assert 10 <= len(opened) <= (2 + module.AHEAD * 2 + 1) * module.BATCH
    assert {process.exitcode for process in processes} == {0}


def test_files_above_a_mebibyte_are_batches_of_their_own():
    files = {"small": b"x", "large": bytes(module.BATCH_BYTES), "last": b"y"}
    batches = list(module.split_into_batches(files, files.__getitem__, 16))
    assert [list(batch) for batch in batches] == [["small", "large"], ["last"]]
    assert [len(batch) for batch in module.split_into_batches(files, files.__getitem__, 2**20)] == [1, 1, 1]


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "bomb.png", "wb") as file:
        file.truncate(2**30 + 1)
    (bad,) = decode_files({"bomb.png": f"{tmp_path}/bomb.png"})
    assert str(bad) == "the file has 1073741825 bytes; at most 1073741824 are read"


def test_large_images_cause_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (bad,) = decode_files({"large.png": png_of_size(12000, 10000)})
    assert "truncated" in str(bad)


def test_the_death_of_a_process_is_reported(pools):
    stream = decode_all((str(i) for i in range(2000)), lambda name: encoded(plain("L", 1)), (4, 4), 1)
    next(stream)
    for process in pools[0]._processes.values():
        process.kill()
    with pytest.raises(GankitError, match="a process that decodes images has died; it may have run out of memory"):
        list(stream)


SCRIPT = """
import io, itertools, multiprocessing, os, sys, time
from PIL import Image
from gankit_plugins.data import decode_all as module

# Without a check for `__main__`: worker processes must not run this script.
file = io.BytesIO()
Image.new("L", (8, 8)).save(file, "PNG")
module.BATCH = 2
stream = module.decode_all(map(str, itertools.count()), lambda name: file.getvalue(), (4, 4), 1)
next(stream)
try:  # before the output, because the test sends its signal at once
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(60)
finally:
    stream.close()
"""


@pytest.fixture
def script(tmp_path):
    """A script that decodes images, and the ids of its worker processes."""
    (tmp_path / "script.py").write_text(SCRIPT)
    # Modules in the current folder must not be imported. Python itself imports those in the folder of the script.
    current = tmp_path / "current"
    current.mkdir()
    for name in ("PIL.py", "pickle.py"):
        (current / name).write_text("raise SystemExit('imported')")
    with subprocess.Popen(
        [sys.executable, "../script.py"],
        cwd=current,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert workers
        yield process, workers
        if process.poll() is None:
            process.kill()


def wait_until_gone(pids):
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_import_no_torch_and_end_with_their_parent(script):
    process, workers = script
    assert "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    for worker in workers:
        assert "libtorch" not in Path(f"/proc/{worker}/maps").read_text()
    process.kill()
    wait_until_gone(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_all_processes_without_their_tracebacks(script):
    process, workers = script
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert "imported" not in error
    assert error.count("Traceback") == 1
    assert error.strip().endswith("KeyboardInterrupt")
    wait_until_gone(workers)
