"""Tests of extractors, comparisons and the metrics of one comparison."""

import pytest
import torch

from gankit import InputError
from gankit.evaluation.metrics import compute_all
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.extractor import CHUNK, Extractor, Features


def test_features_are_computed_once_and_in_chunks_for_all_metrics():
    sizes = []

    def extract(images):
        sizes.append(len(images))
        return Features(images.flatten(1), images.flatten(1)[:, :2])

    real, fake = Samples(torch.rand(CHUNK + 3, 1, 2, 2)), Samples(torch.rand(4, 1, 2, 2))
    comparison = Comparison(real, fake, Extractor({"a": 1}, extract), {"b": 2})
    metrics = {
        "one": lambda c: {"fake": c.fake_features.values.mean().item()},
        "two": lambda c: {"real": c.real_features.values.mean().item(), "again": c.fake_features.values.sum().item()},
        "three": lambda c: None,
    }
    results = compute_all(metrics, comparison)
    assert results.keys == {"fake": "one", "real": "two", "again": "two"}
    assert (set(results.numbers), results.not_applicable, results.failed) == ({"fake", "real", "again"}, ["three"], {})
    assert sorted(sizes) == [3, 4, CHUNK]
    assert comparison.protocol == {"a": 1, "b": 2}
    assert torch.equal(comparison.real_features.values, real.images.flatten(1))
    assert comparison.real_features.logits.shape == (CHUNK + 3, 2)


def small_comparison():
    """Return a comparison without an extractor."""
    images = Samples(torch.rand(2, 1, 1, 1))
    return Comparison(images, images, None, {})


def test_equal_names_of_two_metrics_get_the_key_of_the_second():
    results = compute_all({"metrics.a": lambda c: {"x": 1.0}, "metrics.b": lambda c: {"x": 2.0}}, small_comparison())
    assert results.numbers == {"x": 1.0, "metrics.b.x": 2.0}
    assert results.keys == {"x": "metrics.a", "metrics.b.x": "metrics.b"}


def test_a_metric_that_fails_does_not_stop_the_others():
    def fails(comparison):
        raise InputError("too few images")

    def features(comparison):
        return {"x": comparison.real_features}

    metrics = {"metrics.a": fails, "metrics.b": features, "metrics.c": lambda c: {"mean": c.fake.images.mean().item()}}
    results = compute_all(metrics, small_comparison())
    assert results.numbers.keys() == {"mean"}
    assert "extractor" in str(results.failed["metrics.b"])
    with pytest.raises(InputError, match=r"metrics\.a: too few images"):
        results.checked()


def test_a_digest_identifies_images_and_labels():
    images, labels = torch.randint(0, 256, (4, 1, 2, 2), dtype=torch.uint8), torch.arange(4)
    digest = Samples(images.clone(), labels.clone()).digest()
    assert Samples(images, labels).digest() == digest
    others = [Samples(i, labels) for i in (images.flip(0), images.view(4, 1, 1, 4), images.float())]
    others += [Samples(images, labels.flip(0)), Samples(images)]
    assert len({other.digest() for other in others} | {digest}) == 6
