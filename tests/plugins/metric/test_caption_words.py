"""Words of captions: right on real images, and by word on images with other attributes than those requested."""

import pytest
import torch

from gankit import Comparison
from gankit.plugin.comparison import Samples
from gankit_plugins.data.captioned_shapes import CONDITION, CaptionedShapes
from gankit_plugins.metric.caption_words import CaptionWords


@pytest.fixture(scope="module")
def drawn():
    """1,600 images for training, and 400 others."""
    return [
        CaptionedShapes(CaptionedShapes.Config(count=count, seed=seed)).load_data().read()
        for count, seed in ((1600, 0), (400, 1))
    ]


def measured(real, images, tokens, described=CONDITION):
    fake = Samples(images, tokens, described)
    comparison = Comparison(Samples(real.images, real.condition, CONDITION), fake, None, {})
    return CaptionWords(CaptionWords.Config()).compute_metrics(comparison)


def test_real_images_show_their_words(drawn):
    real, other = drawn
    metrics = measured(real, other.images, other.condition)
    assert metrics["words_real"] > 0.95
    assert metrics["words_all"] > 0.95
    assert set(metrics) == {"words_all", "words", "words_real", "word_2", "word_3", "word_4", "word_7"}


def test_wrong_words_are_counted_one_by_one(drawn):
    real, other = drawn
    wrong = other.condition.clone()
    wrong[:100, 1] = 5 - wrong[:100, 1]  # small and large are the words 2 and 3
    wrong[50:200, [2, 6]] = wrong[50:200, [6, 2]]  # the colours of shape and background are exchanged
    metrics = measured(real, other.images, wrong)
    assert metrics["word_2"] == pytest.approx(0.75, abs=0.02)
    assert metrics["word_3"] == pytest.approx(1 - 150 / 400, abs=0.02)
    assert metrics["word_7"] == pytest.approx(1 - 150 / 400, abs=0.02)
    assert metrics["word_4"] == pytest.approx(1, abs=0.02)
    assert metrics["words_all"] == pytest.approx(0.5, abs=0.03)
    assert metrics["words"] == pytest.approx((0.75 + 2 * 0.625 + 1) / 4, abs=0.02)


def test_empty_images_and_other_data(drawn):
    real, other = drawn
    blank = measured(real, torch.zeros_like(other.images), other.condition)
    assert blank["words_all"] < 0.1
    assert measured(real, other.images, None, None) is None
    free = real._replace(condition=real.condition.clone())
    free.condition[0, 6] = 0  # a caption with fewer words
    assert measured(free, other.images, other.condition) is None
