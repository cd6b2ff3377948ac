"""Batches: each image once in an epoch, the same order after a resume, from the device or from a thread."""

import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit import Dataset, InputError
from gankit.data.batches import Batches, PrefetchedBatches, make_batch_source, take_rows
from gankit.data.prepared import prepare, read_prepared
from gankit.plugin.dataset import Rows

quick = settings(deadline=None, max_examples=60)


def numbered(count):
    """Return images of one pixel, whose value is the number of the image."""
    return torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)


def numbers(images):
    return images.flatten().tolist()


def next_numbers(source, times):
    return [numbers(source.next()[0]) for _ in range(times)]


@quick
@given(count=st.integers(1, 40), batch=st.integers(1, 25), seed=st.integers(0, 2**56))
def test_each_image_is_used_once_in_an_epoch(count, batch, seed):
    source = Batches(Rows(numbered(count)), batch, 0, seed)
    sequence = [n for one in next_numbers(source, -(-3 * count // batch)) for n in one]
    for epoch in range(3):
        assert sorted(sequence[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_differ():
    def order(seed):
        return next_numbers(Batches(Rows(numbered(30)), 30, 0, seed), 2)

    first, second = order(1)
    assert first != second
    assert first != sorted(first)
    assert order(2)[0] != first
    assert order(1) == [first, second]


@quick
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    each=st.integers(1, 7),
    times=st.integers(1, 8),
    data=st.data(),
)
def test_balanced_batches(counts, each, times, data):
    classes = len(counts)
    labels = torch.tensor(data.draw(st.permutations([k for k, n in enumerate(counts) for _ in range(n)])))
    source = Batches(Rows(numbered(len(labels)), labels), each * classes, classes, 5)
    seen = {k: [] for k in range(classes)}
    for _ in range(times):
        images, batch_labels, _ = source.next()
        assert batch_labels.tolist() == list(range(classes)) * each
        for number, label in zip(numbers(images), batch_labels.tolist(), strict=True):
            assert labels[number] == label
            seen[label].append(number)
    for k, count in enumerate(counts):
        members = [n for n in range(len(labels)) if labels[n] == k]
        for epoch in range(len(seen[k]) // count):
            assert sorted(seen[k][epoch * count : (epoch + 1) * count]) == members


@quick
@given(
    count=st.integers(1, 20),
    batch=st.integers(1, 12),
    before=st.integers(0, 6),
    balanced=st.booleans(),
    prefetch=st.booleans(),
)
def test_the_order_continues_after_a_resume(count, batch, before, balanced, prefetch):
    labels = torch.arange(count) % 2 if balanced and count > 1 else None
    classes = 0 if labels is None else 2

    def make():
        rows = Rows(numbered(count), labels)
        return make_batch_source(rows, torch.device("cpu"), 2 * batch, classes, 3, prefetch)

    unbroken, broken, resumed = make(), make(), make()
    expected = next_numbers(unbroken, before + 4)
    assert next_numbers(broken, before) == expected[:before]
    resumed.load_state_dict(broken.state_dict())
    assert next_numbers(resumed, 4) == expected[before:]
    for source in (unbroken, broken, resumed):
        if isinstance(source, PrefetchedBatches):
            source.close()


def test_prefetched_batches_equal_direct_ones():
    labels = torch.arange(11) % 2
    direct = Batches(Rows(numbered(11), labels), 4, 2, 9)
    ahead = PrefetchedBatches(Batches(Rows(numbered(11), labels), 4, 2, 9), depth=2)
    for _ in range(20):
        expected, got = direct.next(), ahead.next()
        assert torch.equal(expected[0], got[0])
        assert torch.equal(expected[1], got[1])
        assert ahead.state_dict() == direct.state_dict()
    ahead.close()


def test_an_error_in_the_thread_is_raised_by_next():
    class Failing:
        def next_several(self, count):
            raise OSError("the disk failed")

        def state_dict(self):
            return {}

    ahead = PrefetchedBatches(Failing())
    with pytest.raises(OSError, match="the disk failed"):
        ahead.next()
    ahead.close()


def test_prefetching_can_be_closed_and_started_again():
    ahead = PrefetchedBatches(Batches(Rows(numbered(8)), 2, 0, 1), depth=1)
    first = next_numbers(ahead, 2)
    state = ahead.state_dict()
    thread = ahead.thread
    ahead.load_state_dict({"epoch": [0], "position": [0]})
    assert not thread.is_alive()
    assert next_numbers(ahead, 2) == first
    assert ahead.state_dict() == state
    ahead.close()
    ahead.close()


@pytest.mark.parametrize("prefetch", [True, False])
def test_no_images_are_refused(prefetch):
    with pytest.raises(InputError, match="there are no images to train on"):
        make_batch_source(Rows(numbered(0)), torch.device("cpu"), 4, 0, 1, prefetch)


def test_a_class_without_images_is_refused():
    with pytest.raises(InputError, match=r"no image of class 1, 3, and every batch needs all classes"):
        Batches(Rows(numbered(4), torch.tensor([0, 2, 2, 0])), 4, 4, 1)


def test_a_class_with_one_image_is_in_every_batch(toy_run):
    run = toy_run(data={"count": 3}, train={"class_balanced": True, "batch_size": 6})
    (first, labels, _), (second, _, _) = run.draw_real(), run.draw_real()
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(first[1], first[3])
    assert torch.equal(first[1], second[5])


@pytest.fixture
def mapped_images(tmp_path):
    """Return ten numbered images in a mapped file."""
    out = tmp_path / "x.safetensors"
    prepare(Dataset((1, 1, 1), None, lambda: (numbered(10), None)), out, "test")
    return read_prepared(out).load()[0]


def test_only_mapped_images_are_prefetched_and_their_batches_are_the_same(mapped_images):
    mapped, direct = (
        make_batch_source(Rows(images), torch.device("cpu"), 4, 0, 1)
        for images in (mapped_images, mapped_images.clone())
    )
    assert isinstance(mapped, PrefetchedBatches)
    assert isinstance(direct, Batches)
    assert next_numbers(mapped, 12) == next_numbers(direct, 12)
    mapped.close()


def test_closing_ends_a_thread_that_waits_for_room_in_the_queue():
    ahead = PrefetchedBatches(Batches(Rows(numbered(8)), 2, 0, 1), depth=1)
    ahead.next()
    while not ahead.queue.full():
        time.sleep(0.001)
    thread = ahead.thread
    ahead.close()
    assert not thread.is_alive()


COUNT_THREADS = """
import os, time, torch
from gankit.data.batches import Batches, PrefetchedBatches
from gankit.plugin.dataset import Rows
torch.set_num_threads(4)
torch.zeros(1_000_000).exp()  # starts the threads of the main thread
ahead = PrefetchedBatches(Batches(Rows(torch.zeros(40_000, 1, 8, 8, dtype=torch.uint8)), 4000, 0, 1))
time.sleep(1)  # threads that have ended disappear a moment later
before = len(os.listdir("/proc/self/task"))
for _ in range(25):
    ahead.next()
time.sleep(1)
print(len(os.listdir("/proc/self/task")) - before)
ahead.close()
"""


def test_prefetching_starts_one_thread():
    """Further threads of torch for the copies would slow down the threads of the training. Counted in a new process."""
    counted = subprocess.run([sys.executable, "-c", COUNT_THREADS], capture_output=True, text=True, timeout=120)
    assert (counted.stdout, counted.stderr) == ("1\n", "")


def test_batches_of_images_with_their_channels_last_in_memory_are_contiguous():
    images = torch.arange(10 * 2 * 4 * 3, dtype=torch.uint8).view(10, 2, 4, 3).permute(0, 3, 1, 2)
    index = torch.tensor([7, 0, 7])
    rows = take_rows(images, index)
    assert rows.is_contiguous()
    assert torch.equal(rows, images[index])
