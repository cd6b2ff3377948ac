"""Extractors: what they make of images, what stands in the protocol, and what is not there."""

import hashlib

import pytest
import torch
from torch import nn

from gankit import Dataset, InputError
from gankit_plugins.extractors import inception
from gankit_plugins.extractors.classifier import DatasetClassifier, SmallClassifier, trained, turned
from gankit_plugins.extractors.inception import Inception
from gankit_plugins.extractors.pixels import Pixels, pixels
from gankit_plugins.extractors.torchscript import TorchScript

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
    seen, quarters = turned(images)
    assert quarters.tolist() == [0, 1, 2, 3]
    assert seen[:, 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_it_learns_and_says_how_well_on_images_kept_apart(cache):
    images, labels = bright()
    _, accuracy = trained(images, labels, 3, 60, CPU, 0)
    assert accuracy > 0.9
    # Of labels without a meaning nothing can be learnt about images kept apart.
    nonsense = torch.randint(0, 3, labels.shape, generator=torch.Generator().manual_seed(1))
    assert trained(images, nonsense, 3, 60, CPU, 0)[1] < 0.7


def test_it_is_trained_once_for_a_dataset_and_kept(cache, monkeypatch):
    images, labels = bright()
    plugin = DatasetClassifier(DatasetClassifier.Config(steps=40))
    one = plugin.build_extractor(dataset(images, labels), CPU)
    monkeypatch.setattr("gankit_plugins.extractors.classifier.trained", None)
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
    torch.testing.assert_close(seen.logits.softmax(1), torch.full((3, 3), 1 / 3))
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

    def unreachable(url, timeout):
        raise OSError("no way there")

    monkeypatch.setattr(inception.urllib.request, "urlopen", unreachable)
    with pytest.raises(InputError, match="cannot be had: no way there"):
        inception.fetch(path)
