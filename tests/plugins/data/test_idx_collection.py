"""MNIST and Fashion-MNIST, with small files of the same format."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from gankit import GankitError, InputError
from gankit_plugins.data import idx_collection
from gankit_plugins.data.fashion_mnist import FASHION_MNIST, FashionMnist
from gankit_plugins.data.idx_collection import resize, select_classes
from gankit_plugins.data.mnist import MNIST, Mnist

REAL = os.environ.get("GANKIT_DATA", "")
PLUGINS = pytest.mark.parametrize("plugin", [Mnist, FashionMnist])


def idx(values):
    return struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape) + bytes(values.flatten().tolist())


def random_images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
    return images, (torch.arange(count, dtype=torch.uint8) * 7) % 10


TRAIN, TEST = random_images(30, 0), random_images(12, 1)


def write(folder, train=TRAIN, test=TEST, packed=True, dotted=False):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        for stem, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            name = stem.replace("-idx", ".idx") if dotted else stem
            data = idx(values)
            (folder / (name + (".gz" if packed else ""))).write_bytes(gzip.compress(data) if packed else data)
    return folder


def dataset(plugin, **settings):
    return plugin(plugin.Config(**settings)).load_data()


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Hide the datasets of this machine."""
    monkeypatch.delenv("GANKIT_DATA", raising=False)
    monkeypatch.setattr(idx_collection, "CACHE", tmp_path / "cache")


@PLUGINS
@pytest.mark.parametrize(("packed", "dotted"), [(True, True), (False, False)])
def test_images_and_labels_equal_the_files(tmp_path, plugin, packed, dotted):
    folder = write(tmp_path / "x", packed=packed, dotted=dotted)
    for split, (expected, expected_labels) in (("train", random_images(30, 0)), ("test", random_images(12, 1))):
        data = dataset(plugin, folder=folder, split=split)
        images, labels = data.load()
        assert (data.channels, data.resolution, len(data.class_names)) == (1, 28, 10)
        assert torch.equal(images, expected[:, None])
        assert torch.equal(labels, expected_labels.long())


def test_class_names(tmp_path):
    folder = write(tmp_path / "x")
    assert dataset(Mnist, folder=folder).class_names == tuple("0123456789")
    assert dataset(FashionMnist, folder=folder, classes=[9, 1]).class_names == ("ankle boot", "trouser")


@PLUGINS
def test_the_order_of_the_folders(tmp_path, monkeypatch, plugin):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    write(tmp_path / "cache" / plugin.name, train=random_images(1, 1))
    assert len(dataset(plugin).load()[0]) == 1
    write(tmp_path, train=random_images(2, 1))
    assert len(dataset(plugin).load()[0]) == 1, "files that may be of another dataset are ignored"
    write(
        tmp_path / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[plugin.name] / "raw", train=random_images(3, 1)
    )
    assert len(dataset(plugin).load()[0]) == 3
    write(tmp_path / plugin.name, train=random_images(4, 1))
    assert len(dataset(plugin).load()[0]) == 4
    write(tmp_path / "x", train=random_images(5, 1))
    assert len(dataset(plugin, folder=tmp_path / "x").load()[0]) == 5


@PLUGINS
def test_missing_files_are_an_error_with_all_remedies(tmp_path, monkeypatch, plugin):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "shared"))
    with pytest.raises(InputError) as error:
        dataset(plugin)
    for word in (
        str(tmp_path / "shared" / plugin.name),
        "`folder`",
        "GANKIT_DATA",
        "`download = true`",
        "train-images",
    ):
        assert word in str(error.value)
    with pytest.raises(InputError, match="t10k-images"):
        dataset(plugin, folder=tmp_path, split="test")


def test_images_without_labels_are_missing_files(tmp_path):
    folder = write(tmp_path / "x")
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="are not in"):
        dataset(Mnist, folder=folder)
    assert len(dataset(Mnist, folder=folder, split="test").load()[0]) == 12


def test_building_the_dataset_reads_headers_only(tmp_path):
    folder = write(tmp_path / "x", packed=False)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    data = dataset(Mnist, folder=folder)
    with pytest.raises(InputError, match=r"images-idx3-ubyte: has only \d+ bytes .* its header declares 23520"):
        data.load()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            (torch.zeros(3, 28, 27, dtype=torch.uint8), random_images(3, 0)[1]),
            "images-idx3.*shape 3 x 28 x 27, not images",
        ),
        ((torch.zeros(3, dtype=torch.uint8), random_images(3, 0)[1]), "images-idx3.*shape 3, not images"),
        (
            (random_images(3, 0)[0], random_images(4, 0)[1]),
            "labels-idx1.*shape 4, not one label for each of the 3 images",
        ),
        ((random_images(3, 0)[0], random_images(3, 0)[0]), "labels-idx1.*shape 3 x 28 x 28, not one label"),
    ],
)
def test_files_that_do_not_match_are_refused_at_assembly(tmp_path, train, message):
    with pytest.raises(InputError, match=message):
        dataset(Mnist, folder=write(tmp_path / "x", train=train))


def test_labels_above_nine_are_refused(tmp_path):
    train = random_images(3, 0)[0], torch.tensor([1, 10, 2], dtype=torch.uint8)
    with pytest.raises(InputError, match=r"labels-idx1-ubyte\.gz: has the label 10"):
        dataset(Mnist, folder=write(tmp_path / "x", train=train)).load()


def test_selected_classes_are_renumbered_in_their_order(tmp_path):
    folder = write(tmp_path / "x")
    data = dataset(Mnist, folder=folder, classes=[8, 3])
    images, labels = data.load()
    assert data.class_names == ("8", "3")
    all_images, all_labels = random_images(30, 0)
    expected = [
        (image, [8, 3].index(label))
        for image, label in zip(all_images, all_labels.tolist(), strict=True)
        if label in (3, 8)
    ]
    assert len(images) == len(expected) == 6
    for image, label, (expected_image, expected_label) in zip(images, labels, expected, strict=True):
        assert torch.equal(image[0], expected_image)
        assert label == expected_label


def test_all_classes_in_another_order():
    images, labels = torch.arange(10), torch.arange(10)
    selected, renumbered = select_classes(images, labels, tuple(range(9, -1, -1)))
    assert torch.equal(selected, images)
    assert renumbered.tolist() == list(range(9, -1, -1))


def test_resize_keeps_a_constant(monkeypatch):
    monkeypatch.setattr(idx_collection, "CHUNK", 2)
    constant = torch.full((5, 1, 28, 28), 137, dtype=torch.uint8)
    for resolution in (7, 14, 32, 64):
        resized = resize(constant, resolution)
        assert resized.shape == (5, 1, resolution, resolution)
        assert (resized == 137).all()
    assert resize(constant, 28) is constant


def test_downscaling_is_antialiased_and_rounded():
    """At a quarter of the size, the weights decrease linearly to zero at four pixels from the centre."""
    line = torch.randint(256, (28,), generator=torch.Generator().manual_seed(0))
    expected = []
    for k in range(7):
        centre = 4 * k + 2
        weights = [max(0.0, 1 - abs(x + 0.5 - centre) / 4) for x in range(28)]
        expected.append(sum(w * v for w, v in zip(weights, line.tolist(), strict=True)) / sum(weights))
    images = line.to(torch.uint8).expand(28, 28)[None, None]
    small = resize(images, 7)[0, 0]
    for row in small.tolist():
        assert all(abs(actual - exact) <= 0.501 for actual, exact in zip(row, expected, strict=True))


@PLUGINS
@pytest.mark.parametrize(
    "settings",
    [
        {"classes": []},
        {"classes": [3, 3]},
        {"classes": [10]},
        {"classes": [-1]},
        {"resolution": 3},
        {"split": "validation"},
        {"root": "x"},
    ],
)
def test_wrong_settings_are_refused(plugin, settings):
    with pytest.raises(ValidationError):
        plugin.Config(**settings)


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Mnist.Config(folder="x/../y").folder == tmp_path / "y"
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Mnist.Config(folder="~/x").folder == Path("/home/somebody/x")


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Replace downloads by local files; return the list of requested names."""
    served = write(tmp_path / "served")
    requested = []

    def fetch(name, mirrors, md5, folder):
        requested.append(name)
        data = (served / name).read_bytes()
        if len(md5) != 32 or not all(mirror.startswith("http") for mirror in mirrors):
            raise GankitError("wrong arguments")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return folder / name

    monkeypatch.setattr(idx_collection, "fetch", fetch)
    return requested


@PLUGINS
def test_load_downloads_the_missing_files_only(tmp_path, web, plugin):
    data = dataset(plugin, download=True, split="test")
    assert web == []
    assert torch.equal(data.load()[0], random_images(12, 1)[0][:, None])
    assert web == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert {path.name for path in (tmp_path / "cache" / plugin.name).iterdir()} == set(web)
    dataset(plugin, download=True, split="test").load()
    dataset(plugin, split="test").load()
    assert len(web) == 2
    (tmp_path / "cache" / plugin.name / web[0]).unlink()
    dataset(plugin, download=True, split="test").load()
    assert web[2:] == ["t10k-images-idx3-ubyte.gz"]


@PLUGINS
def test_files_are_downloaded_into_the_folder(tmp_path, web, plugin):
    dataset(plugin, download=True, folder=tmp_path / "mine").load()
    assert len(list((tmp_path / "mine").iterdir())) == 2
    assert not (tmp_path / "cache").exists()


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
    digest = hashlib.md5(images.numpy().tobytes()).hexdigest()
    assert digest == "6510e85a72c3e9475c492d559d3770d2"
    assert images.double().mean() / 255 == pytest.approx(0.1307, abs=1e-4)
