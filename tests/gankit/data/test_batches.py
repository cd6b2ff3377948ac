"""Batches: every image once an epoch, the same order again after a resume, from the device or from a thread."""

import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit import Dataset, InputError
from gankit.data.batches import Batches, PrefetchedBatches, ShuffledIndices, make_batch_source
from gankit.data.prepared import prepare, read_prepared

quick = settings(deadline=None, max_examples=60)


def numbered(count):
    """Images whose one pixel is their number."""
    return torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)


def numbers(images):
    return images.flatten().tolist()


def drawn(source, times):
    return [numbers(source.next()[0]) for _ in range(times)]


@quick
@given(count=st.integers(1, 40), batch=st.integers(1, 25), seed=st.integers(0, 2**56))
def test_every_image_once_an_epoch(count, batch, seed):
    source = Batches(numbered(count), None, batch, 0, seed)
    sequence = [n for one in drawn(source, -(-3 * count // batch)) for n in one]
    for epoch in range(3):
        assert sorted(sequence[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_differ():
    def order(seed):
        return drawn(Batches(numbered(30), None, 30, 0, seed), 2)

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
    source = Batches(numbered(len(labels)), labels, each * classes, classes, 5)
    seen = {k: [] for k in range(classes)}
    for _ in range(times):
        images, drawn_labels = source.next()
        assert drawn_labels.tolist() == list(range(classes)) * each
        for number, label in zip(numbers(images), drawn_labels.tolist(), strict=True):
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
def test_the_order_goes_on_where_it_stood(count, batch, before, balanced, prefetch):
    labels = torch.arange(count) % 2 if balanced and count > 1 else None
    classes = 0 if labels is None else 2
    make = lambda: make_batch_source(numbered(count), labels, torch.device("cpu"), 2 * batch, classes, 3, prefetch)  # noqa: E731
    unbroken, broken, resumed = make(), make(), make()
    expected = drawn(unbroken, before + 4)
    assert drawn(broken, before) == expected[:before]
    resumed.load_state_dict(broken.state_dict())
    assert drawn(resumed, 4) == expected[before:]
    for source in (unbroken, broken, resumed):
        if isinstance(source, PrefetchedBatches):
            source.close()


def test_prefetched_batches_are_the_direct_ones():
    labels = torch.arange(11) % 2
    direct = Batches(numbered(11), labels, 4, 2, 9)
    ahead = PrefetchedBatches(Batches(numbered(11), labels, 4, 2, 9), depth=2)
    for _ in range(20):
        expected, got = direct.next(), ahead.next()
        assert torch.equal(expected[0], got[0])
        assert torch.equal(expected[1], got[1])
        assert ahead.state_dict() == direct.state_dict()
    ahead.close()


def test_a_state_from_json_is_as_good():
    source = Batches(numbered(5), None, 3, 0, 9)
    source.next()
    assert source.state_dict() == {"epoch": [0], "position": [3]}


def test_what_goes_wrong_in_the_thread_is_told_to_who_asks():
    class Failing:
        def several(self, count):
            raise OSError("the disk has gone")

        def state_dict(self):
            return {}

    ahead = PrefetchedBatches(Failing())
    with pytest.raises(OSError, match="the disk has gone"):
        ahead.next()
    ahead.close()


def test_prefetching_can_be_closed_and_begun_again():
    ahead = PrefetchedBatches(Batches(numbered(8), None, 2, 0, 1), depth=1)
    first = drawn(ahead, 2)
    state = ahead.state_dict()
    thread = ahead.thread
    ahead.load_state_dict({"epoch": [0], "position": [0]})
    assert not thread.is_alive()
    assert drawn(ahead, 2) == first
    assert ahead.state_dict() == state
    ahead.close()
    ahead.close()


@pytest.mark.parametrize("prefetch", [True, False])
def test_no_image_at_all(prefetch):
    with pytest.raises(InputError, match="not one image to learn from"):
        make_batch_source(numbered(0), None, torch.device("cpu"), 4, 0, 1, prefetch)


def test_a_class_without_an_image():
    with pytest.raises(InputError, match=r"no image of class 1, 3, and every batch needs some of each class"):
        Batches(numbered(4), torch.tensor([0, 2, 2, 0]), 4, 4, 1)


def test_an_empty_data_set_is_a_sentence_in_a_game_too(toy_game):
    with pytest.raises(InputError, match="not one image"):
        toy_game(data={"count": 0})
    with pytest.raises(InputError, match="no image of class 1"):
        toy_game(data={"missing": 1}, train={"class_balanced": True})


def test_a_class_of_one_image_is_in_every_batch(toy_game):
    run = toy_game(data={"count": 3}, train={"class_balanced": True, "batch_size": 6})
    (first, labels), (second, _) = run.draw(), run.draw()
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(first[1], first[3])
    assert torch.equal(first[1], second[5])


@pytest.fixture
def in_a_file(tmp_path):
    """Ten numbered images, mapped."""
    out = tmp_path / "x.safetensors"
    prepare(Dataset(1, 1, (), lambda: (numbered(10), None)), out, "test")
    return read_prepared(out).load()[0]


def test_what_lies_in_a_file_is_gathered_ahead_and_what_lies_in_memory_is_not(in_a_file):
    def kind(images):
        return type(make_batch_source(images, None, torch.device("cpu"), 2, 0, 1))

    assert kind(in_a_file) is PrefetchedBatches
    assert kind(in_a_file.clone()) is Batches


def test_a_file_gives_the_batches_that_memory_gives(in_a_file):
    def source(images):
        return make_batch_source(images, None, torch.device("cpu"), 4, 0, 1)

    ahead = source(in_a_file)
    assert drawn(ahead, 12) == drawn(source(in_a_file.clone()), 12)
    ahead.close()


def test_closing_waits_for_no_room_in_the_queue():
    ahead = PrefetchedBatches(Batches(numbered(8), None, 2, 0, 1), depth=1)
    ahead.next()
    while not ahead.ahead.full():
        time.sleep(0.001)
    thread = ahead.thread
    ahead.close()
    assert not thread.is_alive()


def test_gathering_starts_no_threads_beside_its_own():
    """Those that torch would share the copying among would keep the training's from waiting awake."""
    code = (
        "import os, time, torch\n"
        "from gankit.data.batches import Batches, Prefetched\n"
        "torch.set_num_threads(4)\n"
        "images = torch.zeros(40_000, 1, 8, 8, dtype=torch.uint8)\n"
        "ahead = Prefetched(Batches(images, None, 4000, 0, 1))\n"
        # Those that have ended are gone a moment later.
        "time.sleep(0.5)\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = threads()\n"
        "for _ in range(25): ahead.next()\n"
        "until = time.monotonic() + 5\n"
        "while threads() != before + 1 and time.monotonic() < until: time.sleep(0.01)\n"
        "print(threads() - before)\n"
        "ahead.close()\n"
    )
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout.strip() == "1"


def test_a_sequence_of_any_indices():
    sequence = ShuffledIndices(torch.tensor([4, 7]), 1)
    assert sorted(sequence.take(2).tolist()) == [4, 7]
    assert sorted(sequence.take(5).tolist()[:4]) == [4, 4, 7, 7]
