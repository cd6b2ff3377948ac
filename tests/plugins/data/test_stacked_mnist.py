"""Stacked digits: images, labels, and the classifier that counts the modes."""

from itertools import product

import pytest
import torch

from gankit import ClassCondition
from gankit.plugin.comparison import Comparison, Samples
from gankit_plugins.data.stacked_mnist import StackedMnist, stack
from gankit_plugins.extractor.classifier import (
    ClassifierData,
    DatasetClassifier,
    combine_channels,
    train_classifier,
)
from gankit_plugins.metric.modes import Modes
from tests.plugins.data.image_files import idx


def test_labels_combine_the_labels_of_the_channels():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    images_stacked, labels = stack(images, torch.arange(10), 500, 10, 0)
    assert images_stacked.shape == (500, 3, 1, 1)
    assert labels.tolist() == [int(f"{a}{b}{c}") for a, b, c in images_stacked.flatten(1).tolist()]
    again, other = (stack(images, torch.arange(10), 500, 10, seed)[0] for seed in (0, 1))
    assert torch.equal(again, images_stacked)
    assert not torch.equal(other, images_stacked)
    assert len(labels.unique()) > 350  # 500 samples of 1,000 modes


def test_combine_channels_equals_loops():
    torch.manual_seed(0)
    features, logits = torch.rand(6, 4), torch.randn(6, 3)
    combined = combine_channels(features, logits, 3)
    p = logits.softmax(1).view(2, 3, 3)
    for a, b, c in product(range(3), repeat=3):
        by_hand = p[:, 0, a] * p[:, 1, b] * p[:, 2, c]
        torch.testing.assert_close(combined.logits[:, 9 * a + 3 * b + c].exp(), by_hand)
    assert torch.equal(combined.values, features.view(2, 12))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two classes in place of ten digits: dark and bright, with different images."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    labels = torch.arange(200) % 2
    images = (40 + 150 * labels)[:, None, None].repeat(1, 28, 28)
    images[:, :4] = torch.arange(200)[:, None, None]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_modes_of_stacked_images_are_counted(folder):
    config = StackedMnist.Config(folder=folder, classes=(0, 1), count=300, resolution=14)
    dataset = StackedMnist(config).load_data()
    assert dataset.class_names == ("000", "001", "010", "011", "100", "101", "110", "111")
    images, labels = dataset.load()
    assert images.shape == (300, 3, 14, 14)
    settings = DatasetClassifier.Config(steps=30, by_channel=True)
    extractor = DatasetClassifier(settings).build_extractor(dataset, torch.device("cpu"))
    assert str(extractor.facts["extractor"]).startswith("classifier of channels ")
    assert extractor.facts["classifier accuracy, one channel"] == 1
    assert extractor.facts["classifier accuracy, whole label"] == 1
    features = extractor(images)
    assert torch.equal(features.logits.argmax(1), labels)
    two_modes = images[(labels == 3) | (labels == 6)]
    pair = Comparison(Samples(images), Samples(two_modes), extractor, {})
    assert Modes(Modes.Config()).compute_metrics(pair)["modes"] == 2


def test_by_channel_requires_stacked_classes(folder):
    dataset = StackedMnist(StackedMnist.Config(folder=folder, classes=(0, 1), count=30)).load_data()
    images, labels = dataset.load()
    some = labels < 7
    odd = type(dataset)((3, 28, 28), ClassCondition(dataset.class_names[:7]), lambda: (images[some], labels[some]))
    with pytest.raises(ValueError, match="7 classes are not combinations of 3 channels"):
        DatasetClassifier(DatasetClassifier.Config(by_channel=True)).build_extractor(odd, torch.device("cpu"))


def test_accuracy_is_measured_on_unknown_digits():
    """With random labels the training digits are memorised, and they are in many stacks."""
    torch.manual_seed(0)
    digits, labels = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8), torch.randint(0, 2, (60,))
    data = ClassifierData(*stack(digits, labels, 200, 2, 0), 2, by_channel=True)
    _, accuracy = train_classifier(data, torch.arange(200), 60, torch.device("cpu"), 0)
    assert accuracy["accuracy"] < 0.85
