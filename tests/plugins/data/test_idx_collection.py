"""MNIST and Fashion-MNIST, with small files of the same format."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from gankit import InputError
from gankit_plugins.data import idx_collection, standard_datasets
from gankit_plugins.data.fashion_mnist import FASHION_MNIST, FashionMnist
from gankit_plugins.data.idx_collection import resize, select_classes
from gankit_plugins.data.mnist import MNIST, Mnist
from tests.plugins.data.image_files import idx

REAL = os.environ.get("GANKIT_DATA", "")
PLUGINS = pytest.mark.parametrize("plugin", [Mnist, FashionMnist])


def random_images(count):
    images = torch.randint(256, (count, 28, 28), generator=torch.Generator().manual_seed(count), dtype=torch.uint8)
    return images, (torch.arange(count, dtype=torch.uint8) * 7) % 10


TRAIN, TEST = random_images(30), random_images(12)


def write(folder, train=TRAIN, packed=True, dotted=False):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, pair in (("train", train), ("t10k", TEST)):
        for name, values in zip((f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"), pair, strict=True):
            name = name.replace("-idx", ".idx") if dotted else name
            (folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(idx(values)) if packed else idx(values)
            )
    return folder


def dataset(plugin, **settings):
    return plugin(plugin.Config(**settings)).load_data()


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Hide the datasets of this machine."""
    monkeypatch.delenv("GANKIT_DATA", raising=False)
    monkeypatch.setattr(standard_datasets, "CACHE", tmp_path / "cache")


@PLUGINS
@pytest.mark.parametrize(("packed", "dotted"), [(True, True), (False, False)])
def test_images_and_labels_equal_the_files(tmp_path, plugin, packed, dotted):
    folder = write(tmp_path / "x", packed=packed, dotted=dotted)
    for split, (expected, expected_labels) in (("train", TRAIN), ("test", TEST)):
        data = dataset(plugin, folder=folder, split=split)
        images, labels = data.load()
        assert (data.shape, len(data.class_names)) == ((1, 28, 28), 10)
        assert torch.equal(images, expected[:, None])
        assert torch.equal(labels, expected_labels.long())


@pytest.mark.parametrize(("plugin", "raw"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_the_order_of_the_folders(tmp_path, monkeypatch, plugin, raw):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    write(tmp_path, train=random_images(9))  # files that may be of another dataset are ignored
    folders = (tmp_path / "cache" / plugin.name, tmp_path / raw / "raw", tmp_path / plugin.name)
    for count, folder in enumerate(folders, 1):
        write(folder, train=random_images(count))
        assert len(dataset(plugin).load()[0]) == count
    assert len(dataset(plugin, folder=tmp_path).load()[0]) == 9


def test_missing_files_are_an_error_with_all_remedies(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "shared"))
    with pytest.raises(InputError) as error:
        dataset(Mnist)
    for word in (f"{tmp_path}/shared/mnist", "`folder`", "GANKIT_DATA", "`download = true`", "train-images"):
        assert word in str(error.value)
    folder = write(tmp_path / "x")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="t10k-images"):
        dataset(Mnist, folder=folder, split="test")


def test_building_the_dataset_reads_headers_only(tmp_path):
    folder = write(tmp_path / "x", packed=False)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    data = dataset(Mnist, folder=folder)
    with pytest.raises(InputError, match=r"images-idx3-ubyte: has \d+ bytes .* its header declares 23520"):
        data.load()


IMAGES, LABELS = random_images(3)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES[:, :, :27], LABELS), r"images-idx3.*shape \(3, 28, 27\); it must have images"),
        ((LABELS, LABELS), r"images-idx3.*shape \(3,\); it must have images"),
        ((IMAGES, TRAIN[1]), r"labels-idx1.*shape \(30,\); it must have a label for each of the 3 images"),
        ((IMAGES, IMAGES), r"labels-idx1.*shape \(3, 28, 28\); it must have a label"),
    ],
)
def test_files_that_do_not_match_are_refused_at_assembly(tmp_path, train, message):
    with pytest.raises(InputError, match=message):
        dataset(Mnist, folder=write(tmp_path / "x", train=train))


def test_labels_above_nine_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"labels-idx1-ubyte\.gz: has the label 10"):
        dataset(Mnist, folder=write(tmp_path / "x", train=(IMAGES, LABELS + 10 * (LABELS == 0)))).load()


def test_selected_classes_are_renumbered_in_their_order(tmp_path):
    data = dataset(FashionMnist, folder=write(tmp_path / "x"), classes=[8, 3])
    images, labels = data.load()
    assert data.class_names == ("bag", "dress")
    selected = (TRAIN[1] == 3) | (TRAIN[1] == 8)
    assert torch.equal(images[:, 0], TRAIN[0][selected])
    assert labels.tolist() == [[8, 3].index(label) for label in TRAIN[1][selected].tolist()]
    assert len(images) == 6


def test_all_classes_in_another_order():
    selected, renumbered = select_classes(torch.arange(10), torch.arange(10), tuple(range(9, -1, -1)))
    assert torch.equal(selected, torch.arange(10))
    assert renumbered.tolist() == list(range(9, -1, -1))


@pytest.mark.parametrize("resolution", [7, 28, 32])
def test_resize_keeps_a_constant(monkeypatch, resolution):
    monkeypatch.setattr(idx_collection, "CHUNK", 2)
    resized = resize(torch.full((5, 1, 28, 28), 137, dtype=torch.uint8), resolution)
    assert resized.shape == (5, 1, resolution, resolution)
    assert (resized == 137).all()


def test_downscaling_is_antialiased_and_rounded():
    """At a quarter of the size, the weights decrease linearly to zero at four pixels from the centre."""
    line = torch.randint(256, (28,), generator=torch.Generator().manual_seed(0))
    distance = (torch.arange(28) + 0.5 - (4 * torch.arange(7)[:, None] + 2)).abs()
    weights = (1 - distance / 4).clamp(min=0)
    expected = (weights @ line.float()) / weights.sum(1)
    small = resize(line.to(torch.uint8).expand(28, 28)[None, None], 7)[0, 0]
    assert (small - expected).abs().max() <= 0.501


@pytest.mark.parametrize(
    "settings",
    [{"classes": []}, {"classes": [3, 3]}, {"classes": [10]}, {"classes": [-1]}, {"resolution": 3}, {"split": "both"}],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        Mnist.Config(**settings)


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Mnist.Config(folder="x/../y").folder == tmp_path / "y"
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Mnist.Config(folder="~/x").folder == Path("/home/somebody/x")


@pytest.mark.parametrize("folder", [None, "mine"])
def test_load_downloads_the_missing_files_only(tmp_path, monkeypatch, folder):
    served, requested = write(tmp_path / "served"), []

    def fetch(name, mirrors, md5, folder):
        assert (mirrors, md5) == (MNIST.mirrors, MNIST.md5[name])
        requested.append(name)
        folder.mkdir(parents=True, exist_ok=True)
        return (served / name).rename(folder / name)

    monkeypatch.setattr(idx_collection, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    settings = {"folder": folder, "split": "test"}
    target = tmp_path / (folder or "cache/mnist")
    data = dataset(Mnist, download=True, **settings)
    assert requested == []
    assert torch.equal(data.load()[0], TEST[0][:, None])
    assert requested == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert {path.name for path in target.iterdir()} == set(requested)
    dataset(Mnist, **settings).load()
    (target / requested[0]).rename(served / requested[0])
    dataset(Mnist, download=True, **settings).load()
    assert requested[2:] == ["t10k-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("collection", [MNIST, FASHION_MNIST])
def test_files_have_digests_and_mirrors(collection):
    stems = {"train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"}
    assert set(collection.md5) == {f"{stem}-ubyte.gz" for stem in stems}
    assert all(len(bytes.fromhex(digest)) == 16 for digest in collection.md5.values())
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in collection.mirrors)
    assert len(collection.class_names) == 10


@pytest.mark.skipif("GANKIT_DATA" not in os.environ, reason="needs MNIST in $GANKIT_DATA")
def test_the_real_mnist(monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", REAL)
    images, labels = dataset(Mnist).load()
    assert images.shape == (60000, 1, 28, 28)
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert hashlib.md5(images.numpy().tobytes()).hexdigest() == "6510e85a72c3e9475c492d559d3770d2"


def test_a_number_of_images_of_each_class(tmp_path):
    images, labels = dataset(Mnist, folder=write(tmp_path / "x"), classes=[8, 3], per_class=2).load()
    chosen = [index for k in (3, 8) for index in (TRAIN[1] == k).nonzero().flatten().tolist()[:2]]
    assert torch.equal(images[:, 0], TRAIN[0][sorted(chosen)])
    assert sorted(labels.tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("classes", "per_class", "found"), [(None, 4, "0 has only 3"), (None, 1, "9 has only 0"), ([9], 1, "9 has only 0")]
)
def test_too_many_images_of_each_class_are_refused(tmp_path, classes, per_class, found):
    """Also if the last class, or the only one, has no images at all."""
    keep = slice(None) if per_class == 4 else TRAIN[1] != 9
    folder = write(tmp_path / "x", train=(TRAIN[0][keep], TRAIN[1][keep]))
    with pytest.raises(InputError, match=rf"^data\.per_class: {per_class} given, and the class {found}; give at most"):
        dataset(Mnist, folder=folder, classes=classes, per_class=per_class).load()
