"""Images in NumPy files, which the tests write."""

import io
import zipfile

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gankit import InputError
from gankit.data.batches import make_batch_source
from gankit.data.mmap_advice import is_mapped
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_dataset, check_documentation, check_resume
from gankit_plugins.data.labels import number_classes
from gankit_plugins.data.numpy_images import NumpyImages
from gankit_plugins.data.value_range import range_of

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), dtype=np.uint8)
"""Images with their channels last."""

EXPECTED = torch.tensor(PIXELS.transpose(0, 3, 1, 2).copy())
LABELS = np.arange(10) % 2


def dataset(path, **settings):
    return NumpyImages(NumpyImages.Config(path=path, **settings)).load_data()


def npy(folder, array, name="images.npy"):
    np.save(folder / name, array)
    return folder / name


def npz(folder, **arrays):
    np.savez_compressed(folder / "images.npz", **arrays)
    return folder / "images.npz"


def refusal(*arguments, **settings):
    with pytest.raises(InputError) as error:
        dataset(*arguments, **settings).read()
    return str(error.value)


def test_documentation():
    check_documentation(NumpyImages)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PIXELS, EXPECTED),
        (PIXELS.transpose(0, 3, 1, 2), EXPECTED),
        (np.asfortranarray(PIXELS), EXPECTED),
        (PIXELS[..., 0], EXPECTED[:, :1]),
        (PIXELS[..., :1], EXPECTED[:, :1]),
        (PIXELS.astype(">u2"), EXPECTED.to(torch.uint16)),
    ],
    ids=["channels last", "channels second", "fortran", "grey", "grey, channels last", "big endian"],
)
def test_layouts(tmp_path, array, expected):
    data = dataset(npy(tmp_path, array))
    assert data.shape == expected.shape[1:]
    check_dataset(data)
    assert torch.equal(data.read().images, expected)
    assert torch.equal(torch.cat([images for images, _ in data.stream()]), expected)


def test_an_ambiguous_layout_needs_the_setting(tmp_path):
    wide = npy(tmp_path, np.zeros((5, 4, 9, 4), np.uint8))
    assert "layout: " in refusal(wide)
    assert "both the second and the last dimension may be the channels" in refusal(wide)
    assert dataset(wide, layout="NHWC").shape == (4, 4, 9)
    assert "5 images of 9 x 4 pixels" not in str(dataset(wide, layout="NCHW"))
    assert dataset(wide, layout="NCHW").shape == (4, 9, 4)
    many = npy(tmp_path, np.zeros((5, 8, 9, 7), np.uint8))
    assert "neither the second nor the last" in refusal(many)
    assert dataset(many, layout="NHWC").shape == (7, 8, 9)


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((8, 8), {}, "has shape (8, 8), and images have shape (N, H, W), (N, H, W, C) or (N, C, H, W)"),
        ((5, 8, 8), {"layout": "NHWC"}, "images have shape (N, H, W, C)"),
        ((2, 5, 8, 8, 3), {}, "reshape the array"),
        ((64, 64, 3), {}, "which is 64 images of 64 x 3 pixels"),
    ],
)
def test_wrong_shapes(tmp_path, shape, settings, expected):
    assert expected in refusal(npy(tmp_path, np.zeros(shape, np.uint8)), **settings)


def test_values_are_scaled_by_their_range(tmp_path):
    numbers = np.linspace(0, 1, 2 * 4 * 4).reshape(2, 4, 4)
    expected = torch.tensor(numbers[:, None] * 2 - 1, dtype=torch.float32)
    for array, limits in (
        (numbers, None),
        (numbers.astype(np.float32), [0, 1]),
        (numbers * 4 - 3, [-3, 1]),
        (np.round(numbers * 31).astype(np.int16) - 1000, [-1000, -969]),
        (np.round(numbers * 31).astype(np.uint8), [0, 31]),
        (np.round(numbers * 31).astype(np.int64) + 2**40, [2**40, 2**40 + 31]),
    ):
        images = dataset(npy(tmp_path, array), value_range=limits).read().images
        assert images.dtype == torch.float32
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
        assert images.min() == -1
        assert images.max() == 1


@pytest.mark.parametrize(
    ("array", "settings", "expected"),
    [
        (PIXELS / 255.0 * 2 - 1, {}, "values from -1 to 1, outside of [0, 1]; set data.value_range"),
        (PIXELS.astype(np.float32), {}, "outside of [0, 1]"),
        (np.full((4, 4, 4), np.nan), {}, "values from nan to nan"),
        (np.full((4, 4, 4), 2, np.float32), {"value_range": [-1, 1]}, "value_range: "),
        (PIXELS, {"value_range": [0, 31]}, "outside of [0, 31]"),
        (PIXELS.astype(np.int32), {}, "value_range: "),
        (PIXELS > 3, {}, "has values of type bool; images need integers"),
        (PIXELS * 1j, {}, "complex128"),
    ],
)
def test_wrong_values(tmp_path, array, settings, expected):
    assert expected in refusal(npy(tmp_path, array), **settings)


@pytest.mark.parametrize("limits", [[1, 0], [0, 0]])
def test_range_must_ascend(tmp_path, limits):
    with pytest.raises(ValidationError, match="smaller than the second"):
        NumpyImages.Config(path=tmp_path, value_range=limits)


def test_defaults_of_the_range():
    assert [range_of(np.dtype(name), None, "") for name in ("uint8", "uint16", "float16", "float64")] == [
        (0, 255),
        (0, 65535),
        (0, 1),
        (0, 1),
    ]


def test_a_npy_file_is_mapped(tmp_path):
    for array, settings in (
        (PIXELS, {}),
        (PIXELS.astype(np.uint16), {}),
        (PIXELS.astype(np.float32) / 256, {"value_range": [-1, 1]}),
    ):
        file = npy(tmp_path, array)
        before = file.read_bytes()
        images = dataset(file, **settings).read().images
        assert is_mapped(images)
        images.zero_()  # in memory only
        assert file.read_bytes() == before
    assert not is_mapped(dataset(npy(tmp_path, PIXELS / 255.0)).read().images)


def test_batches_of_a_mapped_file_are_contiguous(tmp_path):
    rows = dataset(npy(tmp_path, PIXELS)).read()
    batches = make_batch_source(rows, torch.device("cpu"), 4, 0, seed=0)
    others = make_batch_source(dataset(npz(tmp_path, images=PIXELS)).read(), torch.device("cpu"), 4, 0, seed=0)
    for _ in range(5):
        images = batches.next().images
        assert images.is_contiguous()
        assert torch.equal(images, others.next().images)
    batches.close()


def test_names_of_medmnist_and_others(tmp_path):
    parts = {f"{split}_images": PIXELS[:n] for split, n in (("train", 5), ("val", 3), ("test", 2))}
    parts |= {f"{split}_labels": LABELS[:n, None] for split, n in (("train", 5), ("val", 3), ("test", 2))}
    file = npz(tmp_path, **parts)
    for split, count in ((None, 5), ("train", 5), ("val", 3), ("test", 2)):
        data = dataset(file, split=split)
        images, labels, _ = data.read()
        assert data.at_most == len(images) == count
        assert torch.equal(images, EXPECTED[:count])
        assert labels.tolist() == LABELS[:count].tolist()
        assert data.class_names == ("0", "1")
    data = dataset(npz(tmp_path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:3], y_test=LABELS[:3]), split="test")
    assert len(data.read().images) == 3
    assert data.class_names == ("0", "1")
    assert dataset(npz(tmp_path, images=PIXELS, labels=LABELS)).class_names == ("0", "1")
    assert dataset(npz(tmp_path, a=PIXELS, b=LABELS), images="a", labels="b").class_names == ("0", "1")
    assert dataset(npz(tmp_path, a=PIXELS)).condition is None
    assert dataset(npz(tmp_path, images=PIXELS, labels=LABELS), classes=False).read().condition is None


def test_missing_arrays_are_named(tmp_path):
    file = npz(tmp_path, a=PIXELS, b=LABELS)
    assert (
        refusal(file) == f"images: {file} has no array train_images or x_train or images; set data.images to one of "
        "its arrays: a, b"
    )
    assert "images: " in refusal(file, images="c")
    assert "has no array test_images or x_test; set" in refusal(file, split="test")
    assert "labels: " in refusal(file, images="a", classes=True)
    assert "labels: " in refusal(file, images="a", labels="c")
    assert "labels: " in refusal(file, images="a", class_names=["x"])
    assert "one of its arrays: there are none" in refusal(npz(tmp_path))
    single = npy(tmp_path, PIXELS)
    assert "images: " in refusal(single, images="a")
    assert "split: " in refusal(single, split="test")
    assert "set data.labels_path" in refusal(single, classes=True)
    assert "labels_path: " in refusal(single, labels_path=npz(tmp_path, a=LABELS))


def test_classes(tmp_path):
    numbers = np.array([10, 2, 2, 10, 7, 7, 2, 2, 2, 2])
    data = dataset(npz(tmp_path, images=PIXELS, labels=numbers))
    assert data.class_names == ("2", "7", "10")
    assert data.read().condition.tolist() == [2, 0, 0, 2, 1, 1, 0, 0, 0, 0]
    data = dataset(npz(tmp_path, images=PIXELS, labels=LABELS), class_names=["cat", "dog", "owl"])
    assert data.class_names == ("cat", "dog", "owl")
    assert data.read().condition.tolist() == LABELS.tolist()
    data = dataset(npy(tmp_path, PIXELS), labels_path=npy(tmp_path, np.array(["dog", "cat"] * 5), "labels.npy"))
    assert data.class_names == ("cat", "dog")
    assert data.read().condition.tolist() == [1, 0] * 5
    assert torch.equal(torch.cat([labels for _, labels in data.stream()]), data.read().condition)


@pytest.mark.parametrize(
    ("labels", "settings", "expected"),
    [
        (LABELS[:9], {}, "has shape (9,) and values of type int64; 10 images need labels of shape (10,)"),
        (np.zeros((10, 3), int), {}, "has shape (10, 3)"),
        (LABELS / 2, {}, "values of type float64"),
        (LABELS + 1, {"class_names": ["cat", "dog"]}, "has the label '2', and data.class_names has names for"),
        (LABELS - 1, {"class_names": ["cat", "dog"]}, "has the label '-1'"),
    ],
)
def test_wrong_labels(tmp_path, labels, settings, expected):
    message = refusal(npz(tmp_path, images=PIXELS, labels=labels), **settings)
    assert message.startswith("labels: ")
    assert expected in message


def test_unreadable_files(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.npy")
    objects = npy(tmp_path, np.array([{}, {}], dtype=object))
    assert "cannot be read as arrays" in refusal(objects)
    assert "allow_pickle" not in refusal(objects)
    objects = npz(tmp_path, images=np.full((2, 8, 8), None))
    assert "values of type object" in refusal(objects)
    text = tmp_path / "text.npy"
    text.write_text("no array")
    assert "is not a NumPy file" in refusal(text)
    whole = npy(tmp_path, PIXELS).read_bytes()
    (tmp_path / "images.npy").write_bytes(whole[:-100])
    assert "cannot be read as arrays" in refusal(tmp_path / "images.npy")
    content = io.BytesIO()
    np.save(content, PIXELS)
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("images.npy", content.getvalue()[:-100])
        archive.writestr("readme.txt", "no array")
    assert "cannot be read as arrays" in refusal(tmp_path / "cut.npz")


def test_prepared_file_has_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setattr("gankit_plugins.data.numpy_images.CHUNK_BYTES", 3 * PIXELS[0].nbytes)
    for array in (PIXELS, PIXELS / 255.0):
        data = dataset(npz(tmp_path, images=array, labels=LABELS))
        assert len(list(data.stream())) > 3
        prepare(data, tmp_path / "out.safetensors", "test")
        prepared = read_prepared(tmp_path / "out.safetensors")
        assert prepared.class_names == data.class_names
        assert torch.equal(prepared.read().images, data.read().images)
        assert torch.equal(prepared.read().condition, data.read().condition)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_resume_is_exact(tmp_path, kind):
    square = np.ascontiguousarray(PIXELS[:, :, :6])
    file = npy(tmp_path, square) if kind == "npy" else npz(tmp_path, images=square / 255.0, labels=LABELS)
    check_resume({}, {"data": {"use": "numpy", "path": str(file)}})


def test_integers_are_classes_in_the_order_of_their_values():
    names, labels = number_classes([-1, 10, -2, 2], None, "labels")
    assert names == ("-2", "-1", "2", "10")
    assert labels.tolist() == [1, 3, 0, 2]
