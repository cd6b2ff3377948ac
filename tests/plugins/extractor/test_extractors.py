"""Extractors: features, protocol, caching, downloads and errors."""

import hashlib
from http.client import IncompleteRead
from io import BytesIO
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from gankit import ClassCondition, Dataset, Extractor, Features, InputError
from gankit_plugins.extractor import inception
from gankit_plugins.extractor.classifier import (
    ClassifierData,
    DatasetClassifier,
    SmallClassifier,
    rotate,
    train_classifier,
    train_test_split,
)
from gankit_plugins.extractor.inception import Inception
from gankit_plugins.extractor.pixels import Pixels, pixels
from gankit_plugins.extractor.torchscript import TorchScript

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def brightness_classes(count=240, classes=3, size=9, channels=1):
    """Return images whose class is their brightness, and whose left edge is dark, so that rotations are visible."""
    labels = torch.arange(count) % classes
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 40, (count, channels, size, size), generator=generator)
    images = (noise + 60 * labels.view(-1, 1, 1, 1) + 20).to(torch.uint8)
    images[..., : size // 3] = 0
    return images, labels


def dataset(images, labels, classes=3):
    names = tuple("abcdef"[:classes]) if labels is not None else ()
    return Dataset(tuple(images.shape[1:]), ClassCondition.of(names), lambda: (images, labels))


# Pixels


def test_pixels_are_scaled_to_minus_1_to_1():
    assert pixels(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)).values.tolist() == [[-1, 1]]
    points = torch.rand(5, 2, 1, 1)
    assert torch.equal(pixels(points).values, points.flatten(1))
    extractor = Pixels(Pixels.Config()).build_extractor(dataset(*brightness_classes()))
    assert extractor.facts == {"extractor": "pixels", "resize": "none, 1x9x9"}


# The classifier


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (1, 28), (3, 33)])
def test_shapes_of_the_classifier(channels, size):
    features, logits = SmallClassifier(channels, size, 5)(torch.zeros(2, channels, size, size, dtype=torch.uint8))
    assert (features.shape, logits.shape) == ((2, 128), (2, 5))


def test_rotations_are_counterclockwise_quarters():
    images = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).expand(4, 1, 2, 2)
    rotated, quarters = ClassifierData(images, None, 4, by_channel=False).examples(torch.arange(4))
    assert quarters.tolist() == [0, 1, 2, 3]
    assert torch.equal(rotated, rotate(images, quarters))
    assert rotated[:, 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_training_draws_new_rotations_for_each_batch(monkeypatch):
    rotations, batches = {}, []

    def recorded(images, quarters):
        batches.append(quarters)
        for image, quarter in zip(images, quarters.tolist(), strict=True):
            rotations.setdefault(int(image[0, 0, 0]), set()).add(quarter)
        return rotate(images, quarters)

    monkeypatch.setattr("gankit_plugins.extractor.classifier.rotate", recorded)
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 8, 8)

    def train():
        return train_classifier(ClassifierData(images, None, 4, by_channel=False), torch.arange(10), 3, CPU, 0)

    first, again = (train()[0].state_dict() for _ in range(2))
    assert sum(ways == {0, 1, 2, 3} for ways in rotations.values()) == 9
    assert not torch.equal(batches[0], batches[1])
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_accuracy_is_measured_on_unknown_images(cache):
    images, labels = brightness_classes()

    def accuracy(images, labels, steps):
        data = ClassifierData(images, labels, 3, by_channel=False)
        return train_classifier(data, torch.arange(len(images)), steps, CPU, 0)[1]["accuracy"]

    assert accuracy(images, labels, 20) > 0.9
    # Random labels cannot be predicted for unknown images, and copies of an image are on the same side of the split.
    random_labels = torch.randint(0, 3, labels.shape, generator=torch.Generator().manual_seed(1))
    assert accuracy(images[:90].repeat(3, 1, 1, 1), random_labels[:90].repeat(3), 60) < 0.7


def test_equal_images_are_on_the_same_side():
    groups = 3 * torch.arange(50).repeat(4)
    train, test = train_test_split(groups, torch.Generator().manual_seed(0))
    assert sorted(torch.cat([train, test]).tolist()) == list(range(200))
    assert len(test) == 20
    assert not set(groups[train].tolist()) & set(groups[test].tolist())
    single = train_test_split(torch.zeros(1, dtype=torch.int64), torch.Generator())
    assert [index.tolist() for index in single] == [[0], [0]]


def test_inputs_by_channel_are_channels_with_their_digits():
    images = torch.arange(12, dtype=torch.uint8).view(2, 3, 1, 2)
    inputs, targets = ClassifierData(images, torch.tensor([5, 6]), 2, by_channel=True).examples(torch.tensor([0, 2, 4]))
    assert inputs.flatten(1).tolist() == [[0, 1], [4, 5], [8, 9]]
    assert targets.tolist() == [1, 1, 1]  # 5 is 101 and 6 is 110
    copies = torch.cat([images, images])
    assert ClassifierData(copies, None, 2, by_channel=True).groups(torch.arange(12)).tolist() == [*range(6), *range(6)]


def test_large_datasets_are_sampled_at_random(monkeypatch):
    """The files of a folder are sorted by class, so the first images are not a fair sample."""
    images, labels = brightness_classes()
    order = labels.argsort()
    samples = []

    def untrained(data, rows, *_):
        samples.append(rows)
        return SmallClassifier(1, 9, 3), {"accuracy": 0.5, "at_chance": 0.0}

    monkeypatch.setattr("gankit_plugins.extractor.classifier.train_classifier", untrained)
    monkeypatch.setattr("gankit_plugins.extractor.classifier.MAX_IMAGES", 60)
    for seed in (0, 0, 1):
        plugin = DatasetClassifier(DatasetClassifier.Config(steps=1, seed=seed))
        plugin.build_extractor(dataset(images[order], labels[order]), CPU)
    assert len(samples) == 2  # the second one is cached
    for rows in samples:
        assert len(rows.unique()) == 60
        assert labels[order][rows].bincount().min() > 10
    assert not torch.equal(*samples)


def test_a_classifier_at_chance_has_no_classes():
    images, labels = brightness_classes()
    noise = torch.randint(0, 255, images.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    extractor = DatasetClassifier(DatasetClassifier.Config(steps=3)).build_extractor(dataset(noise, labels), CPU)
    assert extractor.class_names == ()
    assert extractor(noise[:4]).logits is None
    assert extractor.facts["classes"] == "accuracy at chance: no class metrics"


def test_a_classifier_is_trained_once_and_cached(monkeypatch):
    images, labels = brightness_classes()
    plugin = DatasetClassifier(DatasetClassifier.Config(steps=20))
    one = plugin.build_extractor(dataset(images, labels), CPU)
    monkeypatch.setattr("gankit_plugins.extractor.classifier.train_classifier", None)
    again = plugin.build_extractor(dataset(images, labels), CPU)
    assert one.facts == again.facts
    assert one.class_names == ("a", "b", "c")
    assert str(one.facts["extractor"]).startswith("classifier of classes ")
    assert one.facts["classifier accuracy"] > 0.9
    features = one(images)
    assert torch.equal(features.values, again(images).values)
    assert (features.logits.argmax(1) == labels).double().mean() > 0.9
    with pytest.raises(TypeError):  # other images need a new classifier
        plugin.build_extractor(dataset(images.flip(3), labels), CPU)


def test_without_labels_rotations_are_learnt(monkeypatch):
    unlabelled = dataset(brightness_classes()[0], None)
    plugin = DatasetClassifier(DatasetClassifier.Config(steps=40))
    extractor = plugin.build_extractor(unlabelled, CPU)
    assert extractor.class_names == ()
    assert str(extractor.facts["extractor"]).startswith("classifier of quarter turns ")
    assert extractor.facts["classifier accuracy"] > 0.9
    monkeypatch.setattr("gankit_plugins.extractor.classifier.rotate", None)
    plugin.build_extractor(unlabelled, CPU)  # a cached classifier rotates no image


def test_the_classifier_refuses_points():
    with pytest.raises(ValueError, match=r'the data are not uint8 images, .* set extractor = "pixels"'):
        DatasetClassifier(DatasetClassifier.Config()).build_extractor(dataset(torch.rand(10, 2, 1, 1), None), CPU)


# TorchScript


class Net(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


class WithLogits(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3)), images.amax(dim=(2, 3))


@pytest.fixture
def torchscript(tmp_path):
    """Function that saves a network and returns its extractor."""

    def build(network, data=None, **settings):
        path = tmp_path / "net.pt"
        torch.jit.save(torch.jit.script(network), str(path))
        plugin = TorchScript(TorchScript.Config(path=path, **settings))
        return plugin.build_extractor(data or dataset(*brightness_classes()), CPU)

    return build


def test_torchscript_inputs_have_three_channels_and_the_size(torchscript, tmp_path):
    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    extractor = torchscript(Net(), size=8)
    assert extractor(images).values.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert extractor(images).logits is None
    digest = hashlib.sha256((tmp_path / "net.pt").read_bytes()).hexdigest()[:12]
    assert extractor.facts == {"extractor": f"net.pt {digest}", "resize": "bilinear to 8"}


def test_logits_of_the_datasets_classes(torchscript):
    images, labels = brightness_classes()
    inputs = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    extractor = torchscript(Net(), dataset_classes=True)
    assert extractor.class_names == ("a", "b", "c")
    assert torch.equal(extractor(inputs).logits, extractor(inputs).values)
    for own_classes in (False, True):
        features = torchscript(WithLogits(), dataset_classes=own_classes)(inputs)
        torch.testing.assert_close(features.logits, (inputs.float() / 127.5 - 1).amax(dim=(2, 3)))
    with pytest.raises(InputError, match=r"returns logits of shape .* the dataset has 2 classes"):
        torchscript(Net(), dataset(images, labels, 2), dataset_classes=True)(inputs)
    with pytest.raises(InputError, match="dataset_classes: the dataset has no classes"):
        torchscript(Net(), dataset(images, None), dataset_classes=True)


class FixedSize(nn.Module):
    def forward(self, images):
        return images.flatten(1) @ torch.ones(192, 5)


class ReturnsDict(nn.Module):
    def forward(self, images):
        return {"features": images.flatten(1)}


@pytest.mark.parametrize(
    ("network", "images", "message"),
    [
        (FixedSize(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r"net\.pt \w+ does not accept images .* 3x4x4: mat1"),
        (ReturnsDict(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "returns a dict; it must return features"),
        (Net(), torch.rand(4, 2, 1, 1), "uint8 images"),
    ],
    ids=["size", "dict", "points"],
)
def test_errors_of_torchscript_networks(torchscript, network, images, message):
    with pytest.raises(InputError, match=message):
        torchscript(network)(images)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"text", "is not a TorchScript file")])
def test_unreadable_torchscript_files_are_errors(tmp_path, content, message):
    path = tmp_path / "net.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        TorchScript(TorchScript.Config(path=path)).build_extractor(dataset(*brightness_classes()), CPU)


# Inception, by a network with the same interface


class FakeInception(nn.Module):
    def forward(
        self, images: torch.Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> torch.Tensor:
        values = images.float().mean(dim=(2, 3))
        if return_features:
            return values
        return (values if no_output_bias else values + 100.0).softmax(1)


def test_features_and_logits_of_inception(tmp_path):
    path = tmp_path / "inception.pt"
    torch.jit.save(torch.jit.script(FakeInception()), str(path))
    extractor = Inception(Inception.Config(path=path)).build_extractor(dataset(*brightness_classes()), CPU)
    images = torch.randint(0, 256, (3, 1, 5, 5), dtype=torch.uint8)
    features = extractor(images)
    assert torch.equal(features.values, images.float().mean(dim=(2, 3)).expand(3, 3))
    assert features.logits is None  # they need a second forward pass
    torch.testing.assert_close(extractor.logits_of(images, features).softmax(1), torch.full((3, 3), 1 / 3))
    assert str(extractor.facts["extractor"]).startswith("inception ")
    with pytest.raises(InputError, match="uint8 images"):
        extractor(torch.rand(4, 2, 1, 1))


def test_nothing_is_downloaded_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(inception.urllib.request, "urlopen", None)
    with pytest.raises(InputError, match="set download = true to download it"):
        Inception(Inception.Config(path=tmp_path / "gone.pt")).build_extractor(dataset(*brightness_classes()), CPU)


def test_a_download_is_checked_before_it_is_stored(tmp_path, monkeypatch):
    path, served = tmp_path / "deep" / "inception.pt", Mock(side_effect=lambda url, timeout: BytesIO(b"content"))
    monkeypatch.setattr(inception.urllib.request, "urlopen", served)
    with pytest.raises(InputError, match="is not the expected file"):
        inception.fetch(path)
    assert not path.exists()
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"content").hexdigest())
    inception.fetch(path)
    assert path.read_bytes() == b"content"
    for error in (OSError("no route"), IncompleteRead(b"no route")):
        served.side_effect = error
        with pytest.raises(InputError, match=r"download: https.*(no route|IncompleteRead)"):
            inception.fetch(path)


def test_the_default_file_in_the_cache_is_checked(cache, monkeypatch):
    def build():
        return Inception(Inception.Config()).build_extractor(dataset(*brightness_classes()), CPU)

    with pytest.raises(InputError, match=f"{cache}/inception-2015-12-05.pt does not exist"):
        build()
    cache.mkdir()
    path = cache / "inception-2015-12-05.pt"
    torch.jit.save(torch.jit.script(FakeInception()), str(path))
    with pytest.raises(InputError, match="is not the expected file; remove it"):
        build()
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert build().facts["extractor"] == f"inception {inception.SHA256[:12]}"


def test_a_wrong_number_of_rows_is_refused():
    extractor = Extractor({"extractor": "short"}, lambda images: Features(torch.zeros(len(images) - 1, 3)))
    with pytest.raises(InputError, match="short returns features of 3 images for 4 images"):
        extractor(torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
