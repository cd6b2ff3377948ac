"""Student's distribution against tables and an integral, intervals against their coverage, Holm's procedure by hand."""

import math
import random
import statistics

import numpy as np
import pytest

from gankit.ablation.statistics import holm, paired_effect, ratio_effect, student_t_cdf, student_t_quantile, verdict


# Two-sided 95% points from tables in textbooks.
@pytest.mark.parametrize(("df", "point"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_quantiles_match_the_tables(df, point):
    assert student_t_quantile(0.975, df) == pytest.approx(point, abs=5e-4)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 13, 40])
@pytest.mark.parametrize("t", [-7.0, -1.3, -0.2, 0.0, 0.6, 2.5])
def test_the_cdf_is_the_integral_of_the_density(df, t):
    x = np.linspace(0, abs(t), 20_001)
    constant = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    density = constant * (1 + x**2 / df) ** (-(df + 1) / 2)
    assert student_t_cdf(t, df) == pytest.approx(0.5 + math.copysign(np.trapezoid(density, x), t), abs=1e-8)


def test_the_interval_of_three_differences():
    effect = paired_effect([1.0, 2.0, 3.0])
    reach = 4.302653 * 1.0 / math.sqrt(3)
    assert (effect.mean, effect.pairs) == (2.0, 3)
    assert (effect.low, effect.high) == pytest.approx((2 - reach, 2 + reach), rel=1e-6)
    # P(|T| > t) with two degrees of freedom is 1 - t / sqrt(2 + t^2).
    t = 2 * math.sqrt(3)
    assert effect.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def coverage(interval, n, true=0.3, studies=4000, seed=0):
    """Return the share of studies whose interval contains the true mean."""
    draws = np.random.default_rng(seed).normal(true, 2.0, size=(studies, n)).tolist()
    intervals = [interval(differences) for differences in draws]
    return sum(low <= true <= high for low, high in intervals) / studies


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_95_percent_of_the_intervals_contain_the_true_mean(n):
    def interval(differences):
        effect = paired_effect(differences)
        return effect.low, effect.high

    # The share of 4,000 studies has a standard error of 0.35%.
    assert coverage(interval, n) == pytest.approx(0.95, abs=0.012)


def test_bootstrap_intervals_of_five_differences_are_too_narrow():
    """The reason for Student's interval."""
    draw = random.Random(0)

    def interval(differences):
        means = sorted(statistics.fmean(draw.choices(differences, k=5)) for _ in range(200))
        return means[5], means[-6]

    assert coverage(interval, 5, studies=400) < 0.90


def test_the_interval_of_inverse_ratios_is_inverse():
    one, other = ratio_effect([(2, 1), (3, 1), (4, 1)]), ratio_effect([(1, 2), (1, 3), (1, 4)])
    assert one.mean == pytest.approx(24 ** (1 / 3))
    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))


def test_holm():
    # Sorted: 0.01, 0.02, 0.03, 0.04, times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("differences", "adjusted", "expected"),
    [
        ([3.0], None, "no interval"),
        ([0.0, 0.0, 0.0], None, "no effect seen"),
        ([0.1, 0.1, 0.1], None, "same in all"),
        ([-1.0, 2.0, 0.5], 0.7, "no effect seen"),
        ([1.0, 1.1, 0.9], 0.01, "higher"),
        ([-1.0, -1.1, -0.9], 0.01, "lower"),
        ([1.0, 1.1, 0.9], 0.2, "higher?"),
        ([-1.0, -1.1, -0.9], 0.2, "lower?"),
    ],
)
def test_verdict(differences, adjusted, expected):
    effect = paired_effect(differences)
    assert verdict(effect, adjusted) == expected
    assert (effect.p is None) == (effect.low is None) == (effect.high is None) == (adjusted is None)
