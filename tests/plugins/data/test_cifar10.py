"""CIFAR-10, with small files of the same formats."""

import io
import os
import tarfile
import zipfile

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import ClassCondition, InputError
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_dataset, check_documentation
from gankit_plugins.data import standard_datasets
from gankit_plugins.data.cifar10 import BINARY, CLASSES, RECORD, Cifar10, read_records
from gankit_plugins.data.idx_collection import resize

REAL = os.environ.get("GANKIT_DATA", "")


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Hide the datasets of this machine."""
    monkeypatch.delenv("GANKIT_DATA", raising=False)
    monkeypatch.setattr(standard_datasets, "CACHE", tmp_path / "cache")


def dataset(path=None, **settings):
    return Cifar10(Cifar10.Config(path=path, **settings)).load_data()


def examples(split):
    """Return 20 images and labels. Those of the splits differ."""
    random = torch.Generator().manual_seed(len(split))
    images = torch.randint(256, (20, 3, 32, 32), generator=random, dtype=torch.uint8)
    return images, (torch.arange(20) * 7 + len(split)) % 10


def records(images, labels):
    """Return the content of a binary file."""
    return b"".join(bytes([label, *image.flatten().tolist()]) for image, label in zip(images, labels, strict=True))


def binary_files():
    """Return the contents of the binary version by name: four images in each training file."""
    images, labels = examples("train")
    parts = zip(images.split(4), labels.tolist()[::4], strict=True)
    files = {
        name: records(part, labels[4 * k : 4 * k + 4].tolist())
        for k, (name, (part, _)) in enumerate(zip(BINARY["train"], parts, strict=True))
    }
    images, labels = examples("test")
    return {**files, "test_batch.bin": records(images, labels.tolist()), "batches.meta.txt": b"airplane\n"}


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, files, inside="cifar-10-batches-bin"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_images(top, split="train", skip=()):
    """Write the images of a split as PNG files in class folders."""
    for number, (image, label) in enumerate(zip(*examples(split), strict=True)):
        if CLASSES[label] not in skip:
            folder = top / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:04d}.png")
    return top


def zipped(top, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*.png")):
            archive.write(file, inside + str(file.relative_to(top)))
    return path


def in_order(split, names=CLASSES):
    """Return the images of a split in the order of their class folders, and their labels as positions in `names`."""
    images, labels = examples(split)
    order = [
        (CLASSES[label], number, names.index(CLASSES[label]))
        for number, label in enumerate(labels.tolist())
        if CLASSES[label] in names
    ]
    order.sort()
    return images[[number for _, number, _ in order]], torch.tensor([label for _, _, label in order])


def test_a_record_byte_by_byte():
    """A label, 1,024 red bytes, 1,024 green and 1,024 blue ones, row by row."""
    record = bytearray(RECORD)
    record[0] = 9
    record[1] = 11  # red, row 0, column 0
    record[1 + 33] = 22  # red, row 1, column 1
    record[1 + 1024 + 31] = 33  # green, row 0, column 31
    record[1 + 2048 + 31 * 32] = 44  # blue, row 31, column 0
    images, labels = read_records(bytes(record), "a.bin")
    assert (images.shape, images.dtype) == ((1, 3, 32, 32), torch.uint8)
    assert labels.tolist() == [9]
    assert (images[0, 0, 0, 0], images[0, 0, 1, 1], images[0, 1, 0, 31], images[0, 2, 31, 0]) == (11, 22, 33, 44)
    assert images.sum() == 110


@pytest.mark.parametrize("form", ["folder", "parent", "archive", "parent of archive", "default"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_binary_version(tmp_path, monkeypatch, form, split):
    files = binary_files()
    top = tmp_path / "cifar10"
    path = {
        "folder": lambda: write_folder(top, files),
        "parent": lambda: write_folder(top / "cifar-10-batches-bin", files).parent,
        "archive": lambda: write_archive(top / "mine.tgz", files),
        "parent of archive": lambda: write_archive(top / "cifar-10-binary.tar.gz", files).parent,
        "default": lambda: write_folder(top, files) and None,
    }[form]()
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    data = dataset(path, split=split)
    assert (data.shape, data.condition) == ((3, 32, 32), ClassCondition(CLASSES))
    images, labels = data.load()
    expected, expected_labels = examples(split)
    assert torch.equal(images, expected)
    assert torch.equal(labels, expected_labels)
    check_dataset(data)


@pytest.mark.parametrize("form", ["folder", "zip", "splits", "zip of splits", "zips"])
def test_images_in_class_folders(tmp_path, form):
    top = tmp_path / "all"
    for split in ("train", "test"):
        write_images(top / split, split)
    path = {
        "folder": lambda: top / "test",
        "zip": lambda: zipped(top / "test", tmp_path / "some.zip", "inside/"),
        "splits": lambda: top,
        "zip of splits": lambda: zipped(top, tmp_path / "all.zip", "cifar10/"),
        "zips": lambda: (
            zipped(top / "test", zipped(top / "train", tmp_path / "train.zip").with_name("test.zip")).parent
        ),
    }[form]()
    data = dataset(path, split="test")
    assert data.class_names == CLASSES
    assert data.contents == "20 images of 20 files"
    images, labels = data.load()
    expected, expected_labels = in_order("test")
    assert torch.equal(images, expected)
    assert torch.equal(labels, expected_labels)
    check_dataset(data)


@pytest.mark.parametrize("form", ["binary", "images"])
def test_selected_classes_are_renumbered_in_their_order(tmp_path, form):
    if form == "binary":
        path = write_folder(tmp_path / "x", binary_files())
    else:
        path = write_images(tmp_path / "x", skip=("truck",))  # a class that is not used may be missing
    data = dataset(path, classes=[8, 3])
    assert data.class_names == ("ship", "cat")
    images, labels = data.read()[:2]
    assert sorted(labels.tolist()) == [0, 0, 1, 1]
    expected, expected_labels = examples("train")
    for image, label in zip(images, labels.tolist(), strict=True):
        (number,) = [k for k in range(20) if torch.equal(expected[k], image)]
        assert expected_labels[number] == [8, 3][label]


@pytest.mark.parametrize("form", ["binary", "images"])
def test_a_number_of_images_of_each_class(tmp_path, form):
    path = write_folder(tmp_path / "x", binary_files()) if form == "binary" else write_images(tmp_path / "x")
    images, labels = dataset(path, per_class=1).read()[:2]
    assert sorted(labels.tolist()) == list(range(10))
    expected, expected_labels = examples("train")
    for image, label in zip(images, labels.tolist(), strict=True):
        assert torch.equal(image, expected[expected_labels.tolist().index(label)])


def test_both_forms_are_resized_alike(tmp_path):
    binary = dataset(write_folder(tmp_path / "x", binary_files()), resolution=16).load()[0]
    images = dataset(write_images(tmp_path / "y"), resolution=16).load()[0]
    assert torch.equal(binary, resize(examples("train")[0], 16))
    assert torch.equal(images, resize(in_order("train")[0], 16))


def test_a_prepared_file_has_the_same_images(tmp_path):
    data = dataset(write_folder(tmp_path / "x", binary_files()), classes=[1, 2], resolution=8)
    count = prepare(data, tmp_path / "x.safetensors", "test")
    prepared = read_prepared(tmp_path / "x.safetensors")
    assert count == 4
    assert prepared.class_names == ("automobile", "bird")
    assert all(torch.equal(one, two) for one, two in zip(prepared.read()[:2], data.read()[:2], strict=True))


def test_a_missing_folder_is_an_error_with_all_remedies(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "shared"))
    with pytest.raises(InputError) as error:
        dataset()
    assert str(error.value) == (
        f"path: {tmp_path}/shared/cifar10 and {tmp_path}/cache/cifar10 do not exist; set data.path, or the variable "
        "GANKIT_DATA to the parent of a folder cifar10; cifar-10-binary.tar.gz is at "
        "https://www.cs.toronto.edu/~kriz/cifar.html"
    )
    with pytest.raises(InputError, match=r"^path: /nowhere does not exist; cifar-10-binary"):
        dataset("/nowhere")


@pytest.mark.parametrize(
    "name", ["data_batch_1", "test_batch", "cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"]
)
def test_the_python_version_is_refused(tmp_path, name):
    file = tmp_path / "x" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    paths = [tmp_path / "x"] + ([file] if name.endswith("gz") else [file.parent])
    for path in paths:
        with pytest.raises(InputError, match=r"is the Python version of CIFAR-10, whose pickles gankit does not read"):
            dataset(path)


def test_an_archive_of_the_python_version_with_another_name_is_refused(tmp_path):
    data = dataset(write_archive(tmp_path / "cifar.tar.gz", {"data_batch_1": b"x"}, "cifar-10-batches-py"))
    with pytest.raises(InputError, match=r"cifar\.tar\.gz is the Python version .* get the binary version"):
        data.load()


@pytest.mark.parametrize("content", [b"", b"x" * (RECORD - 1), b"\0" * (2 * RECORD + 1)])
def test_files_of_a_wrong_size_are_refused(tmp_path, content):
    files = {**binary_files(), "data_batch_3.bin": content}
    message = rf"data_batch_3\.bin: has {len(content)} bytes; it must have records of 3073 bytes each"
    with pytest.raises(InputError, match=message):
        dataset(write_folder(tmp_path / "x", files))
    with pytest.raises(InputError, match=message):
        dataset(write_archive(tmp_path / "x.tar.gz", files)).load()
    dataset(tmp_path / "x", split="test").load()


def test_missing_files_are_refused(tmp_path):
    files = binary_files()
    del files["data_batch_4.bin"]
    with pytest.raises(InputError, match=r"path: .*/x has no data_batch_4\.bin; cifar-10-binary\.tar\.gz is at"):
        dataset(write_folder(tmp_path / "x", files))
    with pytest.raises(InputError, match=r"path: .*/x\.tar\.gz has no data_batch_4\.bin"):
        dataset(write_archive(tmp_path / "x.tar.gz", files)).load()


def test_labels_above_nine_are_refused(tmp_path):
    files = {**binary_files(), "data_batch_2.bin": records(examples("train")[0][:1], [10])}
    data = dataset(write_folder(tmp_path / "x", files))
    with pytest.raises(InputError, match=r"data_batch_2\.bin: has the label 10; the classes are 0 to 9"):
        data.load()


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_damaged_archives_are_refused(tmp_path, content):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"path: .*x\.tar\.gz cannot be read: "):
        dataset(path).load()
    whole = write_archive(tmp_path / "y.tar.gz", binary_files()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"path: .*x\.tar\.gz cannot be read: "):
        dataset(path).load()


def test_other_images_are_refused(tmp_path):
    top = write_images(tmp_path / "x")
    (top / "airplane").rename(top / "plane")
    with pytest.raises(InputError, match=r"plane/00\d\d\.png, plane/.* must be in the folder of a class; the classes"):
        dataset(top)
    with pytest.raises(InputError, match=r"has no images of bird for the split train; cifar-10-binary"):
        dataset(write_images(tmp_path / "y", skip=("bird",)))
    with pytest.raises(InputError, match=r"has no images of airplane, .* for the split train"):
        dataset(write_images(tmp_path / "z" / "test").parent)


def test_images_of_the_other_split_are_refused(tmp_path):
    top = write_images(tmp_path / "test", "test")
    for path in (top, zipped(top, tmp_path / "test.zip")):
        with pytest.raises(InputError, match=r"split: .* has the images of the split test; set data.split=test"):
            dataset(path)
        dataset(path, split="test")


def test_a_damaged_image_is_named(tmp_path):
    top = write_images(tmp_path / "x")
    file = next(iter(sorted((top / "frog").glob("*.png"))))
    file.write_bytes(b"no image")
    with pytest.raises(InputError, match=rf"path: .*: frog/{file.name} \(not an image.*\) cannot be used; get this"):
        dataset(top).load()


@pytest.mark.parametrize(
    "settings", [{"classes": []}, {"classes": [3, 3]}, {"classes": [10]}, {"resolution": 3}, {"split": "validation"}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        Cifar10.Config(**settings)


def test_documentation():
    check_documentation(Cifar10)


@pytest.mark.skipif(not os.path.exists(f"{REAL}/cifar10/test.zip"), reason="needs CIFAR-10 in $GANKIT_DATA")
def test_the_real_cifar10(monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", REAL)
    assert dataset().contents.startswith("50,000 images")
    images, labels = dataset(split="test").load()
    assert images.shape == (10000, 3, 32, 32)
    assert labels.bincount().tolist() == [1000] * 10
    assert 115 < images.float().mean() < 127
