"""Prepared files: the images survive a round trip; a file is complete or does not exist."""

import errno
import io
import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gankit import Dataset, GankitError, InputError
from gankit.data import prepared
from gankit.data.prepared import prepare, read_prepared, write_prepared
from gankit.plugin.condition import ClassCondition, ImageCondition, TokenCondition, VectorCondition
from gankit.plugin.dataset import Rows


def some_images(count, channels=3, resolution=5):
    values = torch.arange(count * channels * resolution**2) * 7 % 251
    return values.to(torch.uint8).view(count, channels, resolution, resolution)


def in_memory(images, labels=None, names=()):
    return Dataset(tuple(images.shape[1:]), ClassCondition.of(names), lambda: (images, labels), note="drawn")


def streamed(images, labels, names, at_most, pieces=2, fail=None):
    def stream():
        for begin in range(0, len(images), pieces):
            part = slice(begin, begin + pieces)
            yield images[part], None if labels is None else labels[part]
        if fail is not None:
            raise fail

    def never():
        raise AssertionError("load is called although there is a stream")

    return Dataset(tuple(images.shape[1:]), ClassCondition.of(names), never, stream, at_most)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "images.safetensors"


@settings(deadline=None)
@given(
    count=st.integers(1, 12),
    missing=st.integers(0, 12),
    channels=st.sampled_from([1, 3]),
    resolution=st.integers(1, 7),
    classes=st.integers(0, 3),
    pieces=st.integers(1, 5),
)
def test_images_survive_a_round_trip(tmp_path_factory, count, missing, channels, resolution, classes, pieces):
    out = tmp_path_factory.mktemp("x") / "deeper" / "images.safetensors"
    images = some_images(count, channels, resolution)
    labels = torch.arange(count) % classes if classes else None
    names = tuple("αbc"[:classes])
    progress = []
    assert prepare(streamed(images, labels, names, count + missing, pieces), out, "test", progress.append) == count
    assert sum(progress) == count
    dataset = read_prepared(out)
    assert (dataset.shape, dataset.class_names) == ((channels, resolution, resolution), names)
    read, read_labels, _ = dataset.load()
    assert read.dtype == torch.uint8
    assert torch.equal(read, images)
    assert read_labels is None if labels is None else torch.equal(read_labels, labels)
    assert read_labels is None or read_labels.dtype == torch.int64
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_without_a_stream_the_loaded_images_are_written_in_chunks(out, monkeypatch):
    monkeypatch.setattr(prepared, "CHUNK", 4)
    images, labels = some_images(10), torch.arange(10) % 2
    progress = []
    assert prepare(in_memory(images, labels, ("a", "b")), out, "test", progress.append) == 10
    assert progress == [4, 4, 2]
    assert torch.equal(read_prepared(out).load()[0], images)


def test_the_metadata(out):
    images, labels = some_images(3), torch.tensor([2, 0, 2])
    prepare(in_memory(images, labels, ("a", "b", "c")), out, "test images")
    data = out.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    card = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["gankit"])
    assert card == {
        "format": "gankit-images-2",
        "gankit": "0.1.0",
        "encoding": {},
        "condition": {"kind": "class", "names": ["a", "b", "c"]},
        "source": "test images",
        "note": "drawn",
        "count": 3,
        "counts": [1, 0, 2],
    }
    assert read_prepared(out).note == "drawn"
    tensors = load_file(out)
    assert set(tensors) == {"images", "condition"}
    assert torch.equal(tensors["condition"], labels)
    prepare(in_memory(images, labels, ("a", "b", "c")), out, "test images")
    assert out.read_bytes() == data


def test_a_prepared_file_can_be_replaced_by_itself(out):
    prepare(in_memory(some_images(4)), out, "test")
    prepare(read_prepared(out), out, "again")
    assert torch.equal(read_prepared(out).load()[0], some_images(4))


def test_loading_maps_the_file_instead_of_reading_it(out):
    prepare(in_memory(torch.zeros(2000, 3, 100, 100, dtype=torch.uint8)), out, "test")

    def own_memory():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    before = own_memory()
    images = read_prepared(out).load()[0]
    assert int(images[::100].sum()) == 0
    assert own_memory() - before < 30_000  # kB; the images are 60,000


def test_a_failure_keeps_the_earlier_file_and_leaves_nothing_else(out):
    prepare(in_memory(some_images(4)), out, "test")
    before = out.read_bytes()
    for fail in (InputError("a bad image"), KeyboardInterrupt(), OSError(errno.EIO, "a read error")):
        with pytest.raises(type(fail)) as error:
            prepare(streamed(some_images(2), None, (), 5, fail=fail), out, "test")
        assert error.value is fail
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        assert out.read_bytes() == before


# Small images stay in the buffer of the file until it is closed; large ones are written at once.
@pytest.mark.parametrize(("resolution", "writes_before"), [(5, 0), (5, 1), (100, 0), (100, 1), (100, 2)])
def test_a_full_disk_is_an_error(out, monkeypatch, resolution, writes_before):
    class FullDisk(io.FileIO):
        left = writes_before

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= 1
            return super().write(data)

    monkeypatch.setattr("builtins.open", lambda path, mode: io.BufferedWriter(FullDisk(path, mode)))
    with pytest.raises(GankitError, match=r"the disk is full: .*images\.safetensors"):
        prepare(streamed(some_images(4, resolution=resolution), None, (), 5, pieces=2), out, "test")
    assert list(out.parent.iterdir()) == []


def test_no_images_are_refused(out):
    with pytest.raises(InputError, match="there are no images to write"):
        write_prepared(out, iter(()), 5, (3, 4), {"condition": None})
    assert list(out.parent.iterdir()) == []


def test_only_a_safetensors_file_is_written(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        prepare(in_memory(some_images(1)), tmp_path / "images.zip", "test")
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        prepare(in_memory(some_images(1)), tmp_path / "x.safetensors", "test")


def test_a_truncated_file_is_refused(out):
    prepare(in_memory(some_images(2, 1, 2), torch.tensor([0, 0]), ("a",)), out, "test")
    whole = out.read_bytes()
    for length in range(0, len(whole), 7):
        out.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"images\.safetensors"):
            read_prepared(out)


def test_other_files_are_refused(out):
    with pytest.raises(InputError, match="there is no file"):
        read_prepared(out)
    out.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    with pytest.raises(InputError, match="not a safetensors file"):
        read_prepared(out)
    images = some_images(2)
    for card in (None, {}, {"gankit": "no json"}, {"gankit": "[]"}, {"gankit": '{"needed": []}'}):
        save_file({"images": images}, out, card)
        with pytest.raises(InputError, match="is not a file of `gankit prepare`"):
            read_prepared(out)
    save_file({"images": images}, out, {"gankit": '{"format": "gankit-images-9"}'})
    with pytest.raises(InputError, match="'gankit-images-9'; this version of gankit reads 'gankit-images-2'"):
        read_prepared(out)


def condition_of(names):
    return {"kind": "class", "names": names} if names else None


@pytest.mark.parametrize(
    ("tensors", "names"),
    [
        ({"images": some_images(2).double()}, []),
        ({"images": some_images(2)[0, 0, 0]}, []),
        ({"images": some_images(2)[..., 5:].contiguous()}, []),
        ({"pictures": some_images(2)}, []),
        ({"images": some_images(2)}, ["a"]),
        ({"images": some_images(2), "condition": torch.tensor([0, 0])}, []),
        ({"images": some_images(2), "condition": torch.tensor([0])}, ["a"]),
        ({"images": some_images(2), "condition": torch.tensor([[0], [0]])}, ["a"]),
        ({"images": some_images(2), "fields.x": torch.zeros(3)}, []),
    ],
)
def test_an_inconsistent_header_is_refused(out, tensors, names):
    save_file(tensors, out, {"gankit": json.dumps({"format": "gankit-images-2", "condition": condition_of(names)})})
    with pytest.raises(InputError, match="is inconsistent"):
        read_prepared(out)


@pytest.mark.parametrize("label", [-1, 1])
def test_labels_without_a_class_are_refused(out, label):
    tensors = {"images": some_images(2), "condition": torch.tensor([0, label])}
    save_file(tensors, out, {"gankit": json.dumps({"format": "gankit-images-2", "condition": condition_of(["a"])})})
    with pytest.raises(InputError, match=r"the condition has labels from -?\d to \d, but"):
        read_prepared(out).read()


@pytest.mark.parametrize(
    "condition",
    [
        None,
        3,
        {},
        {"kind": "sound"},
        {"kind": "class"},
        {"kind": "class", "names": 5},
        {"kind": "class", "names": [1, 2]},
        {"kind": "class", "names": [["a"], ["b"]]},
        {"kind": "vector", "names": []},
        {"kind": "tokens", "words": ["a"], "length": 10**13},
        {"kind": "class", "names": ["a"], "more": 1},
    ],
)
def test_a_damaged_description_is_refused(out, condition):
    tensors = {"images": some_images(2), "condition": torch.tensor([0, 0])}
    save_file(tensors, out, {"gankit": json.dumps({"format": "gankit-images-2", "condition": condition})})
    with pytest.raises(InputError, match="is inconsistent"):
        read_prepared(out)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (VectorCondition(("a", "b"), ((0, 1), (2, 5))), torch.arange(14).view(7, 2) / 14),
        (TokenCondition(("red", "blue"), 3), torch.arange(21).view(7, 3) % 3),
        (ImageCondition((1, 3, 3)), torch.arange(63, dtype=torch.uint8).view(7, 1, 3, 3)),
        (None, None),
    ],
)
def test_every_condition_and_all_fields_are_kept(out, stream, dtype, condition, rows, monkeypatch):
    monkeypatch.setattr(prepared, "CHUNK", 3)
    fields = {
        "mask": torch.arange(35, dtype=torch.uint8).view(7, 5),
        "weight": torch.rand(7),
        "odd": torch.arange(7) % 2 == 1,
    }
    images = some_images(7) if dtype == torch.uint8 else some_images(7).float() / 255
    whole = Rows(images, rows, fields)

    def chunks():
        return (whole.slice(i, i + 2) for i in range(0, 7, 2))

    dataset = Dataset((3, 5, 5), condition, lambda: whole, chunks if stream else None, 9, fields=tuple(fields))
    assert prepare(dataset, out, "test") == 7
    read = read_prepared(out)
    assert read.condition == condition
    assert set(read.fields) == set(fields)
    found = read.read()
    assert torch.equal(found.images, whole.images)
    assert found.condition is None if rows is None else torch.equal(found.condition, rows)
    assert all(torch.equal(found.fields[name], fields[name]) for name in fields)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.tensors())


def test_a_field_of_a_type_that_a_file_cannot_have_is_refused(out):
    dataset = Dataset((3, 5, 5), None, lambda: (some_images(2), None, {"m": torch.ones(2).half()}), fields=("m",))
    with pytest.raises(InputError, match=r"test: fields\.m has the type torch\.float16; it must be one of uint8"):
        prepare(dataset, out, "test")
