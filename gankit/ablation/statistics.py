"""What a trick does to a measure, with how sure that is, from differences that are paired by seed.

Two runs of one seed draw the same first batch and start from the same random numbers, so part of what luck does to them
is the same in both and goes away in their difference. The interval is Student's: the differences d_s are taken for
independent draws from a normal distribution, of which n are seen.

Why not a bootstrap: from three to ten differences it resamples too little, and its intervals are too narrow (the tests
measure how much). Why not a permutation test: with n seeds its smallest p is 2 / 2^n, so that five seeds could never
show anything at 5%.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

CONFIDENCE = 0.95

Verdict = Literal["higher", "lower", "higher?", "lower?", "no effect seen", "same in all", "no interval"]


@dataclass(frozen=True)
class Effect:
    """What is known of a mean difference."""

    mean: float
    pairs: int
    low: float | None
    """The ends of the interval; None where there is none: from one pair, or when all differences are equal."""

    high: float | None
    p: float | None
    """Of so large a mean, or a larger one, if there were no effect; None where there is no interval."""


def student_t_cdf(t: float, df: int) -> float:
    """P(T <= t) of Student's distribution with `df` degrees of freedom, exactly.

    Source: Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4, for A(t | df) = P(|T| <= t).
    """
    theta = math.atan(abs(t) / math.sqrt(df))
    cosine, term, total = math.cos(theta), 1.0, 0.0
    if df % 2:
        term = cosine
        for k in range(1, df - 1, 2):
            total += term
            term *= cosine**2 * (k + 1) / (k + 2)
        within = (theta + math.sin(theta) * total) * 2 / math.pi
    else:
        for k in range(0, df - 1, 2):
            total += term
            term *= cosine**2 * (k + 1) / (k + 2)
        within = math.sin(theta) * total
    return 0.5 + math.copysign(within, t) / 2


@cache
def student_t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, for p from 0.5 to below 1, by bisection."""
    low, high = 0.0, 1.0
    while student_t_cdf(high, df) < p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def paired_effect(differences: Sequence[float], confidence: float = CONFIDENCE) -> Effect:
    """The mean of differences, and mean -+ t_{n-1} s / sqrt(n).

    Source: Student 1908 (The Probable Error of a Mean), for paired differences.

    Where all are equal, s = 0, and the formula would claim to be certain. That happens with measures that take few
    values, such as counts of modes, and is no reason to be certain: then there is no interval.

    Args:
        differences: at least one, each of one seed.
        confidence: the share of studies whose interval is to hold the true mean.
    """
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1 or all(math.isclose(d, mean, rel_tol=1e-12, abs_tol=1e-300) for d in differences):
        return Effect(mean, n, None, None, None)
    error = statistics.stdev(differences) / math.sqrt(n)
    reach = student_t_quantile((1 + confidence) / 2, n - 1) * error
    return Effect(mean, n, mean - reach, mean + reach, 2 * student_t_cdf(-abs(mean) / error, n - 1))


def ratio_effect(pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Effect:
    """The geometric mean of ratios above / below, and its interval: `paired_effect` of their logarithms."""
    of_logs = paired_effect([math.log(above / below) for above, below in pairs], confidence)
    low, high = (None if end is None else math.exp(end) for end in (of_logs.low, of_logs.high))
    return Effect(math.exp(of_logs.mean), of_logs.pairs, low, high, of_logs.p)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for being so many: rejecting those below 0.05 errs at all in one study of twenty.

    Source: Holm 1979 (A Simple Sequentially Rejective Multiple Test Procedure).
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def verdict(effect: Effect, adjusted_p: float | None) -> Verdict:
    """What an effect says. With a `?` where its own interval leaves out zero but, among so many, chance may do that.

    Args:
        effect: of a trick on a measure.
        adjusted_p: its p by `holm` among all comparisons of the study; None where it has none.
    """
    if effect.low is None or effect.high is None:
        if effect.pairs == 1:
            return "no interval"
        return "same in all" if effect.mean else "no effect seen"
    if effect.low <= 0 <= effect.high:
        return "no effect seen"
    assert adjusted_p is not None
    if adjusted_p < 1 - CONFIDENCE:
        return "higher" if effect.mean > 0 else "lower"
    return "higher?" if effect.mean > 0 else "lower?"
