"""The five laws of Meng 2021, equations 2 to 6, the cosine, and the factors that the plugins apply."""

import math
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gankit_plugins.lr_schedule.constant import Constant, constant
from gankit_plugins.lr_schedule.cosine import Cosine, cosine
from gankit_plugins.lr_schedule.igan_dynamic import IganDynamic, igan_dynamic
from gankit_plugins.lr_schedule.inverse import Inverse, inverse
from gankit_plugins.lr_schedule.polynomial import Polynomial, polynomial
from gankit_plugins.lr_schedule.step import StepDecay, step

iterations = st.integers(0, 10**6)
RUN = SimpleNamespace(recipe=SimpleNamespace(train=SimpleNamespace(iterations=200)))


def plugin(kind, **settings):
    return kind(kind.Config(**settings))


@given(iterations)
def test_constant(t):
    assert constant(t, 0.01) == 0.01
    assert plugin(Constant).lr_schedule()(t) == 1.0


def test_step_equals_the_printed_loop():
    lr, gamma, every = 0.01, 0.3, 7
    for t in range(100):
        if t > 0 and t % every == 0:
            lr = lr * gamma
        assert step(t, 0.01, gamma, every) == pytest.approx(lr, rel=1e-12)
        assert plugin(StepDecay, gamma=gamma, every=every).lr_schedule()(t) == pytest.approx(lr / 0.01, rel=1e-12)


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 4))
def test_polynomial_against_exact_fractions(t, T, power):
    expected = Fraction(1, 100) * max(Fraction(0), 1 - Fraction(t, T)) ** power
    assert polynomial(t, 0.01, T, power) == pytest.approx(float(expected), rel=1e-9, abs=1e-18)


def test_polynomial_ends_with_the_run_by_default():
    default = plugin(Polynomial).lr_schedule(RUN)
    assert [default(t) for t in (0, 50, 100, 200)] == [1.0, 0.75, 0.5, 0.0]
    shorter = plugin(Polynomial, iterations=100, power=2).lr_schedule(RUN)
    assert [shorter(t) for t in (0, 50, 100, 200)] == [1.0, 0.25, 0.0, 0.0]


@given(iterations, st.floats(0, 1), st.floats(0, 3))
def test_inverse(t, gamma, power):
    expected = 0.01 / math.exp(power * math.log(1 + gamma * t))
    assert inverse(t, 0.01, gamma, power) == pytest.approx(expected, rel=1e-9)
    assert plugin(Inverse, gamma=gamma, power=power).lr_schedule()(t) == pytest.approx(expected / 0.01, rel=1e-9)


def test_igan_dynamic_values():
    law = plugin(IganDynamic).lr_schedule()
    for t, rate in [(0, 0.0002 + 1 / 3000), (300, 0.0002 + 1 / 6000), (99_700, 0.0002 + 1e-6)]:
        assert igan_dynamic(t, 0.0002, 3000, 10) == pytest.approx(rate, rel=1e-12)
        assert 0.0002 * law(t) == pytest.approx(rate, rel=1e-12)
    assert igan_dynamic(0, 0.0002, 3000, 10) == pytest.approx(0.000533, abs=5e-7)


@given(iterations, st.floats(1e-6, 1e-2), st.floats(1, 1e5), st.floats(0, 100))
def test_learning_rate_follows_equation_6_in_proportion_to_that_of_the_optimiser(t, end_lr, init_set, gamma):
    factor = plugin(IganDynamic, end_lr=end_lr, init_set=init_set, gamma=gamma).lr_schedule()(t)
    expected = float(Fraction(end_lr) + 1 / (Fraction(init_set) + Fraction(gamma) * t))
    assert end_lr * factor == pytest.approx(expected, rel=1e-9)
    assert 1.5 * end_lr * factor == pytest.approx(1.5 * expected, rel=1e-9)


def test_igan_dynamic_for_mnist_starts_at_2e_3():
    assert 2e-4 * plugin(IganDynamic, init_set=555.56).lr_schedule()(0) == pytest.approx(0.002, rel=1e-5)


@given(st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 2))
def test_cosine_is_a_squared_cosine_of_half_the_angle(t, T, end):
    """Use (1 + cos x) / 2 = cos^2(x / 2)."""
    expected = 0.01 * (end + (1 - end) * math.cos(math.pi * min(t, T) / T / 2) ** 2)
    assert cosine(t, 0.01, 0.01 * end, T) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert plugin(Cosine, end=end, iterations=T).lr_schedule(RUN)(t) == pytest.approx(expected / 0.01, abs=1e-12)


def test_cosine_ends_with_the_run_by_default():
    law = plugin(Cosine).lr_schedule(RUN)
    assert [law(t) for t in (0, 50, 100, 200, 300)] == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, 0, 0], abs=1e-15)


def test_cosine_of_r3gan():
    """Huang 2024: from 0.0002 to 0.00005 within the first 20 million images, in batches of 512."""
    law = plugin(Cosine, end=0.25, iterations=39062).lr_schedule(RUN)
    assert [2e-4 * law(t) for t in (0, 19531, 39062, 10**6)] == pytest.approx([2e-4, 1.25e-4, 5e-5, 5e-5])


@pytest.mark.parametrize(
    ("kind", "settings"), [(StepDecay, {"every": 3}), (Inverse, {"gamma": 0.1}), (IganDynamic, {})]
)
def test_rates_never_rise_and_stay_positive(kind, settings):
    rates = [plugin(kind, **settings).lr_schedule()(t) for t in range(300)]
    assert all(a >= b > 0 for a, b in pairwise(rates))
    assert rates[0] > rates[-1]
