"""Text encoder and conditioning augmentation: order of the words, padding, and the divergence in closed form."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gankit import ClassCondition, ImageCondition, InputError, Spec, TokenCondition, VectorCondition
from gankit_plugins.layers.text import ConditioningAugmentation, TextEncoder, condition_encoder, divergence

WORDS = TokenCondition(("red", "circle", "on", "green"), 6)


def encoded(text, length=6):
    torch.manual_seed(0)
    return TextEncoder(len(WORDS.words), 8)(TokenCondition(WORDS.words, length).tokens(text)[None])


def test_the_order_of_the_words_counts():
    assert not torch.allclose(encoded("red circle on green"), encoded("green circle on red"))
    assert not torch.allclose(encoded("red circle"), encoded("green circle"))


def test_padding_does_not_count():
    torch.testing.assert_close(encoded("red circle on green", 4), encoded("red circle on green", 30))
    assert (encoded("red") >= 0).all()
    empty = TextEncoder(4, 8)(torch.zeros(1, 6, dtype=torch.long))
    assert torch.equal(empty, torch.zeros(1, 8))


def test_the_divergence_equals_that_of_the_distributions():
    mean, log_deviation = torch.randn(2, 5, 7, dtype=torch.float64).unbind(0)
    expected = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence(mean, log_deviation), expected)
    assert divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_augmentation_is_normal_with_the_mean_and_deviation_of_the_text():
    torch.manual_seed(0)
    augmentation, features = ConditioningAugmentation(3, 2), torch.randn(1, 3)
    mean, log_deviation = augmentation.parameters_of(features)
    drawn = augmentation(features.expand(40_000, 3), torch.randn(40_000, 2))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), log_deviation[0].exp(), atol=0.03, rtol=0)
    torch.testing.assert_close(augmentation(features, torch.zeros(1, 2)), mean)


def test_numbers_and_classes_are_used_directly():
    encoder = condition_encoder(Spec(condition=VectorCondition(("a", "b", "c"))), "x", 9)
    vectors = torch.randn(2, 3)
    assert encoder.size == 3
    assert torch.equal(encoder(vectors), vectors)
    encoder = condition_encoder(Spec(condition=ClassCondition(("a", "b"))), "x", 9)
    assert encoder(torch.tensor([1, 0])).tolist() == [[0, 1], [1, 0]]
    for condition in (None, ImageCondition((1, 2, 2))):
        with pytest.raises(InputError, match=r"^x needs texts, numbers or classes"):
            condition_encoder(Spec(condition=condition), "x", 9)
