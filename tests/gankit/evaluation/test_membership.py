"""Scores and statistics of membership inference."""

import math

import pytest
import torch

from gankit.evaluation.membership import auc, distances_to_samples, monte_carlo_scores, placements, true_positive_rate


def pairs(members, others):
    """Return the proportion of pairs in which the member has the higher score. Ties count one half."""
    return ((members[:, None] > others).double() + (members[:, None] == others).double() / 2).mean().item()


@pytest.mark.parametrize("levels", [3, 10_000])  # with and without ties
def test_the_auc_is_the_proportion_of_ordered_pairs(levels):
    torch.manual_seed(0)
    members, others = torch.randint(levels, (50,)).float() + 0.2 * levels, torch.randint(levels, (70,)).float()
    members = members.floor()
    assert auc(members, others).value == pytest.approx(pairs(members, others))
    assert auc(others, members).value == pytest.approx(1 - pairs(members, others))
    assert placements(members, others)[3].item() == pytest.approx(pairs(members[3:4], others))


def test_the_auc_of_two_normal_distributions_has_a_closed_form():
    torch.manual_seed(1)
    result = auc(torch.randn(40_000) + 1, torch.randn(40_000))
    expected = 0.5 * (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2)))  # Phi(d / sqrt(2)) for the shift d = 1
    assert result.value == pytest.approx(expected, abs=0.004)
    assert result.low < expected < result.high


def test_the_interval_of_the_auc_contains_it_in_95_percent():
    generator = torch.Generator().manual_seed(2)
    truth = 0.5 * (1 + math.erf(0.25))  # shift 0.5
    inside = 0
    for _ in range(1000):
        result = auc(torch.randn(80, generator=generator) + 0.5, torch.randn(60, generator=generator))
        inside += result.low <= truth <= result.high
    assert 0.925 <= inside / 1000 <= 0.975


def test_the_variance_is_that_of_delong_by_hand():
    """For members 1, 3 and non-members 0, 2: V10 = (0.5, 1), V01 = (1, 0.5), each with variance 0.125."""
    result = auc(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
    assert result.value == 0.75
    assert result.high == 1.0
    assert result.low == pytest.approx(0.75 - 1.959964 * math.sqrt(0.125 / 2 + 0.125 / 2))


def test_separated_scores():
    result = auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0]))
    assert result == (1.0, 1.0, 1.0)


def test_the_true_positive_rate():
    others = torch.arange(100.0)
    members = torch.tensor([98.5, 99.0, 99.5, 0.0])
    assert true_positive_rate(members, others, 0.01) == 0.75  # the threshold is 98: one non-member of 100 is above
    assert true_positive_rate(members, others, 0.0) == 0.25
    assert true_positive_rate(torch.zeros(5), torch.zeros(5), 0.5) == 0.0  # ties identify no one


def test_distances_of_equal_samples_are_zero():
    x, others = torch.rand(30, 50), torch.rand(2000, 50)
    distances = distances_to_samples(x, torch.cat([x, others]))
    assert distances.shape == (30, 2030)
    assert distances.diagonal().max() < 1e-6
    assert distances[3, 2029].item() == pytest.approx((x[3] - others[-1]).norm().item(), rel=1e-5)


def test_monte_carlo_scores_by_hand():
    distances = torch.tensor([[1.0, 2.0, 9.0, 9.0], [2.0, 3.0, 9.0, 9.0], [4.0, 4.0, 4.0, 4.0]])
    assert monte_carlo_scores(distances).tolist() == [0.5, 0.25, 0.0]  # the radius is 2, the median of 1, 2, 4
