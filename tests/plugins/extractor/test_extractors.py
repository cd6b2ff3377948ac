"""Extractors: what they make of images, what stands in the protocol, and what is not there."""

import errno
import hashlib
import os
from http.client import IncompleteRead

import pytest
import torch
from torch import nn

from gankit import Dataset, GankitError, InputError
from gankit_plugins.extractor import inception
from gankit_plugins.extractor.classifier import DatasetClassifier, Lesson, SmallClassifier, divided, trained, turned
from gankit_plugins.extractor.inception import Inception
from gankit_plugins.extractor.pixels import Pixels, pixels
from gankit_plugins.extractor.torchscript import TorchScript

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bright(count=240, classes=3, size=9, channels=1):
    """Images whose class is their brightness, and which have a darker left edge, so that turning shows."""
    labels = torch.arange(count) % classes
    randomness = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 40, (count, channels, size, size), generator=randomness)
    images = (noise + 60 * labels.view(-1, 1, 1, 1) + 20).to(torch.uint8)
    images[..., : size // 3] = 0
    return images, labels


def dataset(images, labels, classes=3):
    names = tuple("abcdef"[:classes]) if labels is not None else ()
    return Dataset(images.shape[1], images.shape[2], names, lambda: (images, labels))


# Pixels


def test_pixels_are_images_in_minus_1_to_1():
    assert pixels(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)).values.tolist() == [[-1, 1]]
    points = torch.rand(5, 2, 1, 1)
    assert torch.equal(pixels(points).values, points.flatten(1))
    facts = Pixels(Pixels.Config()).build_extractor(dataset(*bright())).facts
    assert facts == {"extractor": "pixels", "resize": "none, 1x9x9"}


# The classifier


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (3, 7), (1, 28), (3, 33)])
def test_a_classifier_of_any_size(channels, size):
    features, logits = SmallClassifier(channels, size, 5)(torch.zeros(2, channels, size, size, dtype=torch.uint8))
    assert (features.shape, logits.shape) == ((2, 128), (2, 5))


def test_images_are_turned_by_quarters_counterclockwise():
    images = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).expand(4, 1, 2, 2)
    seen, quarters = Lesson(images, None, 4, by_channel=False).shown(torch.arange(4))
    assert quarters.tolist() == [0, 1, 2, 3]
    assert torch.equal(seen, turned(images, quarters))
    assert seen[:, 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_in_training_every_image_is_turned_every_way_and_each_time_anew(monkeypatch):
    seen, looks = {}, []

    def noted(images, quarters):
        looks.append(quarters)
        for image, quarter in zip(images, quarters.tolist(), strict=True):
            seen.setdefault(int(image[0, 0, 0]), set()).add(quarter)
        return turned(images, quarters)

    monkeypatch.setattr("gankit_plugins.extractor.classifier.turned", noted)
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 8, 8)
    train = lambda: trained(Lesson(images, None, 4, by_channel=False), torch.arange(10), 3, torch.device("cpu"), 0)  # noqa: E731
    first, _ = train()
    assert sum(ways == {0, 1, 2, 3} for ways in seen.values()) == 9
    assert not torch.equal(looks[0], looks[1])
    again, _ = train()
    assert all(torch.equal(w, again.state_dict()[name]) for name, w in first.state_dict().items())


def test_it_learns_and_says_how_well_on_images_kept_apart(cache):
    images, labels = bright()

    def accuracy(images, labels):
        lesson = Lesson(images, labels, 3, by_channel=False)
        return trained(lesson, torch.arange(len(images)), 60, CPU, 0)[1]["accuracy"]

    assert accuracy(images, labels) > 0.9
    # Of labels without a meaning nothing can be learnt about images kept apart.
    nonsense = torch.randint(0, 3, labels.shape, generator=torch.Generator().manual_seed(1))
    assert accuracy(images, nonsense) < 0.7
    # Not even if every image is there several times: copies of those kept apart are kept apart too.
    assert accuracy(images.repeat(5, 1, 1, 1), nonsense.repeat(5)) < 0.7


def test_equal_images_are_on_one_side():
    groups = 3 * torch.arange(50).repeat(4)
    train, test = divided(groups, torch.Generator().manual_seed(0))
    assert sorted(torch.cat([train, test]).tolist()) == list(range(200))
    assert len(test) == 20
    assert not set(groups[train].tolist()) & set(groups[test].tolist())
    alone = divided(torch.zeros(1, dtype=torch.int64), torch.Generator())
    assert [index.tolist() for index in alone] == [[0], [0]]


def test_pictures_of_stacks_are_channels_with_digits_for_answers():
    images = torch.arange(12, dtype=torch.uint8).view(2, 3, 1, 2)
    pictures, answers = Lesson(images, torch.tensor([5, 6]), 2, by_channel=True).shown(torch.tensor([0, 2, 4]))
    assert pictures.flatten(1).tolist() == [[0, 1], [4, 5], [8, 9]]
    assert answers.tolist() == [1, 1, 1]  # 5 is 101 and 6 is 110
    copies = torch.cat([images, images])
    assert Lesson(copies, None, 2, by_channel=True).alike(torch.arange(12)).tolist() == [*range(6), *range(6)]


def test_of_many_images_some_are_drawn_at_random(cache, monkeypatch):
    """A folder is sorted class by class: its first images are of the first classes."""
    images, labels = bright()
    order = labels.argsort()
    shown = []

    def look_only(lesson, rows, *_):
        shown.append(rows)
        return SmallClassifier(1, 9, 3), {"accuracy": 0.5}

    monkeypatch.setattr("gankit_plugins.extractor.classifier.trained", look_only)
    monkeypatch.setattr("gankit_plugins.extractor.classifier.MOST", 60)
    for seed in (0, 0, 1):
        plugin = DatasetClassifier(DatasetClassifier.Config(steps=1, seed=seed))
        plugin.build_extractor(dataset(images[order], labels[order]), CPU)
    assert len(shown) == 2  # kept for equal seeds
    for rows in shown:
        assert len(rows.unique()) == 60
        assert labels[order][rows].bincount().min() > 10
    assert not torch.equal(*shown)


def test_what_is_kept_turns_no_image(cache, monkeypatch):
    images, _ = bright()
    plugin = DatasetClassifier(DatasetClassifier.Config(steps=2))
    plugin.build_extractor(dataset(images, None), CPU)
    monkeypatch.setattr("gankit_plugins.extractor.classifier.turned", None)
    plugin.build_extractor(dataset(images, None), CPU)


def test_it_is_trained_once_for_a_dataset_and_kept(cache, monkeypatch):
    images, labels = bright()
    plugin = DatasetClassifier(DatasetClassifier.Config(steps=40))
    one = plugin.build_extractor(dataset(images, labels), CPU)
    monkeypatch.setattr("gankit_plugins.extractor.classifier.trained", None)
    again = plugin.build_extractor(dataset(images, labels), CPU)
    assert one.facts == again.facts
    assert one.class_names == ("a", "b", "c")
    assert str(one.facts["extractor"]).startswith("classifier of classes ")
    assert one.facts["classifier accuracy"] > 0.9
    found, the_same = one(images), again(images)
    assert torch.equal(found.values, the_same.values)
    assert (found.logits.argmax(1) == labels).double().mean() > 0.9
    with pytest.raises(TypeError):  # other images, so it would be trained
        plugin.build_extractor(dataset(images.flip(3), labels), CPU)


def test_without_labels_it_learns_which_way_is_up(cache):
    images, _ = bright()
    found = DatasetClassifier(DatasetClassifier.Config(steps=60)).build_extractor(dataset(images, None), CPU)
    assert found.class_names == ()
    assert str(found.facts["extractor"]).startswith("classifier of quarter turns ")
    assert found.facts["classifier accuracy"] > 0.9
    assert found(images).values.shape == (240, 128)


def test_points_are_no_pictures():
    points = torch.rand(10, 2, 1, 1)
    with pytest.raises(ValueError, match='for points take extractor = "pixels"'):
        DatasetClassifier(DatasetClassifier.Config()).build_extractor(dataset(points, None), CPU)


# TorchScript


class Net(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


class WithLogits(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3)), images.amax(dim=(2, 3))


@pytest.fixture
def script(tmp_path):
    def save(network, name="net.pt"):
        path = tmp_path / name
        torch.jit.save(torch.jit.trace(network, torch.zeros(2, 3, 8, 8)), str(path))
        return path

    return save


def test_a_torchscript_network_sees_images_in_three_channels_and_its_size(script):
    path = script(Net())
    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    found = TorchScript(TorchScript.Config(path=path, size=8)).build_extractor(dataset(*bright()), CPU)
    assert found(images).values.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert found(images).logits is None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert found.facts == {"extractor": f"net.pt {digest}", "resize": "bilinear to 8"}
    both = TorchScript(TorchScript.Config(path=script(WithLogits(), "two.pt"))).build_extractor(dataset(*bright()), CPU)
    assert both(images).logits.shape == (2, 3)


def test_logits_of_the_datasets_classes_are_said_to_be(script):
    images, labels = bright()
    of_three = dataset(images, labels)
    shown = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    settings = {"path": script(Net()), "dataset_classes": True}
    found = TorchScript(TorchScript.Config(**settings)).build_extractor(of_three, CPU)
    assert found.class_names == ("a", "b", "c")
    assert torch.equal(found(shown).logits, found(shown).values)
    two = TorchScript.Config(path=script(WithLogits(), "two.pt"), dataset_classes=True)
    seen = TorchScript(two).build_extractor(of_three, CPU)(shown)
    torch.testing.assert_close(seen.logits, (shown.float() / 127.5 - 1).amax(dim=(2, 3)))
    with pytest.raises(InputError, match=r"gives logits of shape .* the dataset has 2 classes"):
        TorchScript(TorchScript.Config(**settings)).build_extractor(dataset(images, labels, 2), CPU)(shown)
    with pytest.raises(InputError, match="dataset_classes: the dataset has no classes"):
        TorchScript(TorchScript.Config(**settings)).build_extractor(dataset(images, None), CPU)


class Fussy(nn.Module):
    def forward(self, images):
        return images.flatten(1) @ torch.ones(192, 5)


class Wordy(nn.Module):
    def forward(self, images):
        return {"features": images.flatten(1)}


def test_what_a_torchscript_network_cannot_do_is_a_sentence(tmp_path):
    def extractor(network):
        path = tmp_path / "net.pt"
        torch.jit.save(torch.jit.script(network), str(path))
        return TorchScript(TorchScript.Config(path=path)).build_extractor(dataset(*bright()), CPU)

    with pytest.raises(InputError, match=r"net\.pt \w+ cannot look at images of 3x4x4: mat1 and mat2|size mismatch"):
        extractor(Fussy())(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="returns a dict; features, or features and logits, are wanted"):
        extractor(Wordy())(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))


def test_networks_of_pictures_refuse_points(script, tmp_path):
    torch.jit.save(torch.jit.script(StandIn()), str(tmp_path / "inception.pt"))
    plugins = [
        TorchScript(TorchScript.Config(path=script(Net()))),
        Inception(Inception.Config(path=tmp_path / "inception.pt")),
    ]
    for plugin in plugins:
        with pytest.raises(InputError, match="these are points"):
            plugin.build_extractor(dataset(*bright()), CPU)(torch.rand(4, 2, 1, 1))


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), (b"nothing of the kind", "is no TorchScript")])
def test_a_file_that_is_none(tmp_path, content, said):
    path = tmp_path / "net.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        TorchScript(TorchScript.Config(path=path)).build_extractor(dataset(*bright()), CPU)


# Inception, by a stand-in with its interface


class StandIn(nn.Module):
    def forward(
        self, images: torch.Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> torch.Tensor:
        values = images.float().mean(dim=(2, 3))
        if return_features:
            return values
        return (values if no_output_bias else values + 100.0).softmax(1)


def test_inception_is_asked_for_features_and_for_probabilities(tmp_path):
    path = tmp_path / "inception.pt"
    torch.jit.save(torch.jit.script(StandIn()), str(path))
    found = Inception(Inception.Config(path=path)).build_extractor(dataset(*bright()), CPU)
    images = torch.randint(0, 256, (3, 1, 5, 5), dtype=torch.uint8)
    seen = found(images)
    assert torch.equal(seen.values, images.float().mean(dim=(2, 3)).expand(3, 3))
    assert seen.logits is None  # they cost a pass of their own
    torch.testing.assert_close(found.logits_of(images, seen).softmax(1), torch.full((3, 3), 1 / 3))
    assert str(found.facts["extractor"]).startswith("inception ")


def test_nothing_is_fetched_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(inception.urllib.request, "urlopen", None)
    with pytest.raises(InputError, match="download = true fetches it"):
        Inception(Inception.Config(path=tmp_path / "gone.pt")).build_extractor(dataset(*bright()), CPU)


class Answer:
    def __init__(self, data):
        self.data = data

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def read(self):
        return self.data


def test_what_is_fetched_is_checked_before_it_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "inception.pt"
    monkeypatch.setattr(inception.urllib.request, "urlopen", lambda url, timeout: Answer(b"something else"))
    with pytest.raises(InputError, match="is not the file it was"):
        inception.fetch(path)
    assert not path.exists()
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"the right one").hexdigest())
    monkeypatch.setattr(inception.urllib.request, "urlopen", lambda url, timeout: Answer(b"the right one"))
    inception.fetch(path)
    assert path.read_bytes() == b"the right one"

    for error in (OSError("no way there"), IncompleteRead(b"no way there")):

        def unreachable(url, timeout, error=error):
            raise error

        monkeypatch.setattr(inception.urllib.request, "urlopen", unreachable)
        with pytest.raises(InputError, match="cannot be had"):
            inception.fetch(path)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"the right one").hexdigest())
    monkeypatch.setattr(inception.urllib.request, "urlopen", lambda url, timeout: Answer(b"the right one"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GankitError, match="the disk is full"):
        inception.fetch(tmp_path / "inception.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_usual_file_lies_in_the_cache_and_is_checked(cache, monkeypatch):
    def build():
        return Inception(Inception.Config()).build_extractor(dataset(*bright()), CPU)

    with pytest.raises(InputError, match=f"there is no {cache}/inception-2015-12-05.pt"):
        build()
    cache.mkdir()
    path = cache / "inception-2015-12-05.pt"
    torch.jit.save(torch.jit.script(StandIn()), str(path))
    with pytest.raises(InputError, match="is not the file it was; remove it"):
        build()
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert build().facts["extractor"] == f"inception {inception.SHA256[:12]}"
