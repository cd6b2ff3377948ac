"""Metric `ngram_divergence`."""

import math
from collections import Counter

import pytest
import torch

from gankit.plugin.comparison import Comparison, Samples
from gankit_plugins.layers.characters import encode, to_one_hot
from gankit_plugins.metric.ngram_divergence import NgramDivergence, jensen_shannon, ngram_divergences, ngrams


def test_ngrams_contain_the_end_of_the_line():
    assert ngrams(["aba", ""], 1) == Counter({"a": 2, "b": 1, "\0": 2})
    assert ngrams(["aba", ""], 2) == Counter({"ab": 1, "ba": 1, "a\0": 1})
    assert ngrams(["ab"], 3) == Counter({"ab\0": 1})
    assert ngrams(["ab"], 4) == Counter()


def test_the_divergence_is_that_of_the_definition():
    p, q = Counter(a=3, b=1), Counter(a=2, c=6)
    mean = {"a": (0.75 + 0.25) / 2, "b": 0.125, "c": 0.375}
    of_p = 0.75 * math.log2(0.75 / mean["a"]) + 0.25 * math.log2(0.25 / mean["b"])
    of_q = 0.25 * math.log2(0.25 / mean["a"]) + 0.75 * math.log2(0.75 / mean["c"])
    assert jensen_shannon(p, q) == pytest.approx((of_p + of_q) / 2)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))
    assert jensen_shannon(p, Counter(a=6, b=2)) == 0
    assert jensen_shannon(Counter(a=1), Counter(b=5)) == 1
    assert jensen_shannon(Counter(), p) == 1
    assert jensen_shannon(Counter(), Counter()) == 0


def test_a_permutation_of_the_characters_shows_only_in_longer_ngrams():
    found = ngram_divergences(["ab", "ab"], ["ba", "ba"], 3)
    assert found[0] == 0
    assert found[1:] == [1, 1]


def test_the_metric_decodes_the_samples():
    def samples(lines, **more):
        return Samples(to_one_hot(encode(lines, "ab", 3), 3), **more)

    plugin = NgramDivergence(NgramDivergence.Config(largest=2))
    real, fake = ["ab", "b"], ["aab", "b"]
    comparison = Comparison(samples(real, encoding={"characters": "ab"}), samples(fake), None, {})
    first, second = ngram_divergences(fake, real, 2)
    assert plugin.compute_metrics(comparison) == {"ngrams_1": first, "ngrams_2": second}
    points = Samples(torch.zeros(3, 2))
    assert plugin.compute_metrics(Comparison(points, points, None, {})) is None
