"""Divergence between the n-grams of generated and real texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import Field

from gankit import Comparison, Plugin, Settings, hookimpl
from gankit_plugins.layers.characters import alphabet_in, decode

END = "\0"
"""Character after the last character of a line, so that n-grams also describe where lines end."""


def ngrams(lines: Iterable[str], n: int) -> Counter[str]:
    """Count the sequences of n characters in all lines. The end of a line counts as one character."""
    return Counter(f"{line}{END}"[start : start + n] for line in lines for start in range(len(line) + 2 - n))


def jensen_shannon(first: Counter[str], second: Counter[str]) -> float:
    """Return the Jensen-Shannon divergence of two distributions, given as counts, in bits. It is from 0 to 1.

    It is the mean of KL(p || m) and KL(q || m), where m is the mean of the distributions p and q. An empty counter
    has divergence 1 from each other distribution.
    """
    if not first or not second:
        return float(bool(first or second))
    divergence = 0.0
    for counts, other in ((first, second), (second, first)):
        total, other_total = counts.total(), other.total()
        for gram, count in counts.items():
            p, q = count / total, other[gram] / other_total
            divergence += p * math.log2(2 * p / (p + q)) / 2
    return divergence


def ngram_divergences(fake: Sequence[str], real: Sequence[str], largest: int) -> list[float]:
    """Return the Jensen-Shannon divergences of the n-grams of generated and real lines, for n = 1 to `largest`."""
    return [jensen_shannon(ngrams(fake, n), ngrams(real, n)) for n in range(1, largest + 1)]


class NgramDivergence(Plugin):
    """Jensen-Shannon divergence between the character n-grams of generated and real texts.

    `ngrams_1` is the divergence of the frequencies of the characters, `ngrams_2` that of pairs of neighbouring
    characters, and so on. The unit is bits: 0 for equal frequencies, 1 for texts without a common n-gram. The end of a
    line counts as a character. A divergence above 0 remains between two samples of the same texts, and it is larger for
    fewer lines and larger n, so compare values only for the same number of lines.

    Source: Gulrajani 2017, "Modeling discrete data with a continuous generator", which uses n = 4.

    When to use: for texts from the data plugins `lines` and `equations`.
    When not: for other data. The metric then has no value.
    """

    name = "ngram_divergence"
    kind = "metric"

    class Config(Settings):
        largest: int = Field(4, ge=1, le=20, description="largest n; the divergence is computed for 1 to n")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        alphabet = alphabet_in(comparison.real.encoding)
        if alphabet is None:
            return None
        fake, real = (decode(samples.images, alphabet) for samples in (comparison.fake, comparison.real))
        found = ngram_divergences(fake, real, self.config.largest)
        return {f"ngrams_{n}": value for n, value in enumerate(found, 1)}
