"""Effect of a trick on a metric: mean difference between runs with the same seed, and a confidence interval.

Two runs with the same seed use the same random numbers at the start, so part of the random variation cancels out in the
difference of their metrics. The confidence interval is computed as in a paired t-test, which assumes that the n
differences are independent and normally distributed.

Other methods need more seeds. Bootstrap intervals of three to ten differences are too narrow, as the tests of this
module show. The smallest p-value of a permutation test is 2 / 2^n. With five seeds, no effect could be significant at
5%.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

CONFIDENCE = 0.95  # confidence level of all confidence intervals

Verdict = Literal["higher", "lower", "higher?", "lower?", "no effect seen", "same in all", "no interval"]


@dataclass(frozen=True)
class Effect:
    """Effect of a trick: a mean difference or a geometric mean of ratios, with its confidence interval and p-value."""

    mean: float
    pairs: int
    low: float | None  # lower end of the interval; None if there is only one pair, or if all differences are equal
    high: float | None
    p: float | None  # two-sided p-value for the null hypothesis of no effect


def student_t_cdf(t: float, df: int) -> float:
    """Return the probability P(T <= t) of Student's t-distribution with `df` degrees of freedom, in closed form.

    Source: Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4, which give A(t | df) = P(|T| <= t).
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
    """Return the quantile t of Student's t-distribution, where P(T <= t) = p, for 0.5 <= p < 1.

    The quantile is computed by bisection.
    """
    low, high = 0.0, 1.0
    while student_t_cdf(high, df) < p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def paired_effect(differences: Sequence[float]) -> Effect:
    """Return the mean of the n differences, one for each seed, and its confidence interval.

    The interval is mean +- t_{n-1} s / sqrt(n). Here s is the standard deviation of the differences, and t_{n-1} is the
    quantile of Student's t-distribution for n - 1 degrees of freedom. If all differences are equal, s is 0 and no
    interval is returned, because an interval of zero width would suggest certainty. Equal differences occur for
    metrics with few possible values, such as the number of modes.

    Source: Student 1908 (The Probable Error of a Mean), for paired differences.
    """
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1 or all(math.isclose(d, mean, rel_tol=1e-12, abs_tol=1e-300) for d in differences):
        return Effect(mean, n, None, None, None)
    error = statistics.stdev(differences) / math.sqrt(n)
    reach = student_t_quantile((1 + CONFIDENCE) / 2, n - 1) * error
    return Effect(mean, n, mean - reach, mean + reach, 2 * student_t_cdf(-abs(mean) / error, n - 1))


def ratio_effect(pairs: Sequence[tuple[float, float]]) -> Effect:
    """Return the geometric mean of the ratios `first / second` of all pairs, with its confidence interval.

    `paired_effect` computes the mean and the interval of the logarithms of the ratios. Both are then exponentiated.
    """
    logs = paired_effect([math.log(first / second) for first, second in pairs])
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Effect(math.exp(logs.mean), logs.pairs, low, high, logs.p)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons with Holm's method. The result has the same order as `ps`.

    If no trick has a real effect, the probability that any adjusted p-value is below 0.05 is at most 5%.

    Source: Holm 1979 (A Simple Sequentially Rejective Multiple Test Procedure).
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def verdict(effect: Effect, adjusted_p: float | None) -> Verdict:
    """Return the verdict on an effect, such as `higher` or `no effect seen`.

    `adjusted_p` is the p-value after Holm's correction, or None if the effect has no interval. The verdict `higher?` or
    `lower?` means that the interval excludes zero, but the adjusted p-value is not significant.
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
