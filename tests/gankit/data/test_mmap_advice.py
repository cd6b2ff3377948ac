"""Mapped files: detected, and read ahead for a batch."""

import ctypes
import mmap
import os
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from gankit.data import mmap_advice
from gankit.data.batches import make_batch_source
from gankit.data.mmap_advice import expect_random_access, is_mapped, read_ahead, sequential_access
from gankit.plugin.dataset import Rows

ROW = mmap.PAGESIZE

pytestmark = pytest.mark.skipif(not mmap_advice.MAPS.exists(), reason="the system does not list mapped files")


@pytest.fixture
def images(tmp_path):
    """Return images of 6000 pages in a file that is not in the page cache."""
    path = tmp_path / "x.safetensors"
    save_file({"images": (torch.arange(6000) % 251).to(torch.uint8)[:, None].expand(-1, ROW).contiguous()}, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return load_file(path)["images"]


def in_memory(images):
    """Return for each row whether its first page is in memory (mincore)."""
    begin = images.data_ptr() // ROW * ROW
    pages = (ctypes.c_ubyte * (len(images) + 1))()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(begin), ctypes.c_size_t(images.nbytes), pages) == 0
    return torch.tensor([page & 1 for page in pages[: len(images)]]).bool()


def absent_rows(images):
    absent = (~in_memory(images)).nonzero().flatten()
    assert len(absent) > 1000, "the file must be on a disk and not in the page cache"
    return absent


def test_a_mapped_file_is_detected(images):
    assert is_mapped(images)
    assert is_mapped(images[17:])
    assert not is_mapped(images.clone())


def test_without_the_list_of_mapped_files_images_count_as_mapped(images, monkeypatch, tmp_path):
    monkeypatch.setattr(mmap_advice, "MAPS", tmp_path / "nowhere")
    assert is_mapped(images.clone())


@pytest.mark.parametrize(("one_call", "channels_last"), [(True, False), (False, False), (True, True)])
def test_the_rows_of_a_batch_are_read_without_their_neighbours(images, monkeypatch, one_call, channels_last):
    if not one_call:
        monkeypatch.setattr(mmap_advice, "_pidfd", lambda process: None)
    if channels_last:
        images = images.view(len(images), -1, 16, 4).permute(0, 3, 1, 2)
    absent = absent_rows(images)
    # One of every eight consecutive rows.
    requested, others = absent[::8], absent[4::8]
    read_ahead(images, requested)
    deadline = time.monotonic() + 10
    while not in_memory(images)[requested].all() and time.monotonic() < deadline:
        time.sleep(0.01)
    there = in_memory(images)
    assert there[requested].all()
    # The kernel may still be reading pages near the header.
    assert there[others].float().mean() < 0.5


def test_access_to_a_row_does_not_read_its_neighbours(images):
    make_batch_source(Rows(images), torch.device("cpu"), 1, 0, seed=0)
    absent = absent_rows(images)
    # The middle of the last 100 consecutive absent rows, far from the pages near the header.
    alone = max(int(a) for a, b in zip(absent, absent[100:], strict=False) if b - a == 100) + 50
    _ = images[alone].sum()
    # A row that starts within a page ends in the next one.
    assert 1 <= in_memory(images)[alone - 50 : alone + 51].sum() <= 2


def test_sequential_access_reads_ahead(images):
    expect_random_access(images)
    absent_rows(images)
    with sequential_access(images):
        _ = images[5000].sum()
        _ = images[5001].sum()
    assert in_memory(images)[5003:5007].all()


def test_advice_does_not_change_images_in_memory():
    images = torch.arange(50, dtype=torch.uint8).view(25, 2)
    expect_random_access(images)
    expect_random_access(images.T)
    read_ahead(images, torch.tensor([3, 24, 3]))
    read_ahead(images.T, torch.tensor([1]))
    assert images.flatten().tolist() == list(range(50))


def test_a_system_without_the_call(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    mmap_advice._pidfd.cache_clear()
    assert not mmap_advice._advise_in_one_call(torch.zeros(1, 2, dtype=torch.int64))
    mmap_advice._pidfd.cache_clear()
