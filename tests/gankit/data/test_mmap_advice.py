"""Mapped files: known from memory, and read where a batch wants them before it is gathered."""

import ctypes
import mmap
import os
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from gankit.data import mmap_advice as mapped
from gankit.data.batches import make_batch_source
from gankit.data.mmap_advice import expect_no_order, fetch, sequential_access, is_mapped

ROW = mmap.PAGESIZE

pytestmark = pytest.mark.skipif(not mapped.MAPS.exists(), reason="elsewhere nothing is known of mapped files")


@pytest.fixture
def images(tmp_path):
    """Six thousand pages in a file of which nothing is in memory."""
    path = tmp_path / "x.safetensors"
    save_file({"images": (torch.arange(6000) % 251).to(torch.uint8)[:, None].expand(-1, ROW).contiguous()}, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return load_file(path)["images"]


def in_memory(images):
    """Of each row's first page, whether it is there (mincore)."""
    begin = images.data_ptr() // ROW * ROW
    pages = (ctypes.c_ubyte * (len(images) + 1))()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(begin), ctypes.c_size_t(images.nbytes), pages) == 0
    return torch.tensor([page & 1 for page in pages[: len(images)]]).bool()


def test_a_mapped_file_is_known_from_memory(images):
    assert is_mapped(images)
    assert is_mapped(images[17:])
    assert not is_mapped(images.clone())


def test_where_the_system_does_not_say_images_may_be_mapped(images, monkeypatch, tmp_path):
    monkeypatch.setattr(mapped, "MAPS", tmp_path / "nowhere")
    assert is_mapped(images.clone())


@pytest.mark.parametrize("at_once", [True, False])
def test_wanted_rows_are_read_and_their_neighbours_are_not(images, monkeypatch, at_once):
    """Whether the system takes all rows in one call or not."""
    if not at_once:
        monkeypatch.setattr(mapped, "_known_as", lambda process: None)
    absent = (~in_memory(images)).nonzero().flatten()
    assert len(absent) > 1000, "the file is on a disk, and forgotten"
    # Reading it needs no neighbours: of every eight rows in a line, one.
    wanted, others = absent[::8], absent[4::8]
    fetch(images, wanted)
    deadline = time.monotonic() + 10
    while not in_memory(images)[wanted].all() and time.monotonic() < deadline:
        time.sleep(0.01)
    there = in_memory(images)
    assert there[wanted].all()
    # What the header brought along may still be coming in.
    assert there[others].float().mean() < 0.5


def test_a_row_of_a_mapped_file_brings_no_neighbours_along(images):
    make_batch_source(images, None, torch.device("cpu"), 1, 0, seed=0)
    absent = (~in_memory(images)).nonzero().flatten()
    assert len(absent) > 1000, "the file is on a disk, and forgotten"
    # In the middle of the last hundred in a line, far behind what the header brings along.
    alone = max(int(a) for a, b in zip(absent, absent[100:], strict=False) if b - a == 100) + 50
    _ = images[alone].sum()
    # A row that begins within a page ends in the next.
    assert 1 <= in_memory(images)[alone - 50 : alone + 51].sum() <= 2


def test_what_is_gone_through_is_read_ahead(images):
    expect_no_order(images)
    absent = (~in_memory(images)).nonzero().flatten()
    assert len(absent) > 1000, "the file is on a disk, and forgotten"
    with sequential_access(images):
        _ = images[5000].sum()
        _ = images[5001].sum()
    assert in_memory(images)[5003:5007].all()


def test_in_memory_nothing_changes():
    images = torch.arange(50, dtype=torch.uint8).view(25, 2)
    expect_no_order(images)
    expect_no_order(images.T)
    fetch(images, torch.tensor([3, 24, 3]))
    fetch(images.T, torch.tensor([1]))
    assert images.flatten().tolist() == list(range(50))


def test_a_system_without_the_call_is_no_failure(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    mapped._known_as.cache_clear()
    assert not mapped._fetched_at_once(torch.zeros(1, 2, dtype=torch.int64))
    mapped._known_as.cache_clear()
