"""Tests of the time budget and of the setting `evaluation.budget`."""

from unittest.mock import Mock

import pytest

from gankit import InputError
from gankit.evaluation.budget import Budget
from gankit.recipe.settings import Evaluation
from gankit.testing import tiny_recipe


@pytest.fixture
def clock():
    """Clock whose time a test sets."""
    clock = Mock(now=0.0)
    clock.side_effect = lambda: clock.now
    return clock


@pytest.mark.parametrize(("share", "cost"), [(0.05, 1.0), (0.05, 30.0), (0.5, 3.0), (0.01, 2.0)])
def test_evaluations_stay_within_their_share(clock, share, cost):
    budget = Budget(share, clock)
    budget.expected = cost
    for _ in range(3000):
        clock.now += 1
        if budget.allows():
            with budget.evaluation():
                clock.now += cost
        assert budget.spent <= share * clock.now + 1e-9
    # The share is used, up to one evaluation.
    assert budget.spent + cost > 0.95 * share * clock.now
    assert budget.spent


def test_a_slower_evaluation_delays_the_next_one(clock):
    budget = Budget(0.1, clock)
    budget.expected = 1.0
    clock.now = 20
    assert budget.allows()
    with budget.evaluation():
        clock.now += 10
    # At the end of the next evaluation, 20 s are 10% of the time.
    clock.now = 189
    assert not budget.allows()
    clock.now = 190
    assert budget.allows()


def test_preparation_is_charged_and_delays_the_first_evaluation(clock):
    budget = Budget(0.1, clock)
    with budget.charged():
        clock.now += 10
    budget.expected = 1.0
    clock.now = 108
    assert not budget.allows()
    clock.now = 110
    assert budget.allows()
    assert (budget.spent, budget.expected) == (10, 1)


def test_one_time_work_is_charged_but_not_expected_again(clock):
    budget = Budget(0.5, clock)
    with budget.evaluation():
        clock.now += 2
        with budget.one_time_work():
            clock.now += 30
    assert (budget.spent, budget.expected) == (32, 2)
    with budget.evaluation():
        clock.now += 3
    assert (budget.spent, budget.expected) == (35, 3)


def test_totals(clock):
    budget = Budget(0.05, clock)
    with budget.evaluation():
        clock.now += 4
    clock.now = 100
    assert budget.account() == {"seconds": 4, "share": 0.04, "left_out": 0}
    assert budget.in_words() == "evaluation took 4.0 s, 4.0% of the time"
    budget.skipped = 2
    assert budget.in_words().endswith("; 2 evaluations skipped to keep evaluation.budget = 5%")


@pytest.mark.parametrize(("given", "share"), [("5%", 0.05), ("2.5 %", 0.025), ("100%", 1.0), (0.2, 0.2)])
def test_a_budget_is_a_share_or_a_percentage(given, share):
    assert Evaluation(budget=given).budget == share


@pytest.mark.parametrize(
    ("given", "message"),
    [("0%", ""), ("101%", ""), *((given, 'write "5%" or 0.05') for given in ("5", "5%%", "-5%", "a lot"))],
)
def test_a_wrong_budget_is_refused(given, message):
    with pytest.raises(InputError, match=rf"evaluation\.budget: .*{message}"):
        tiny_recipe({}, {"evaluation": {"budget": given}})
