"""Tests of the mixture of Gaussians of one variable."""

import math

import pytest
import torch

from gankit_plugins.layers.mixture import Mixture, em_step, fit_mixture, merge_closest


def test_a_step_of_em_by_a_naive_loop():
    x, weights, means, stds = [0.0, 0.5, 2.0, 3.0], [0.3, 0.7], [0.2, 2.5], [0.5, 1.0]

    def density(v, k):
        scaled = (v - means[k]) / stds[k]
        return weights[k] * math.exp(-0.5 * scaled**2) / (stds[k] * math.sqrt(2 * math.pi))

    joint = [[density(v, k) for k in (0, 1)] for v in x]
    mixture = Mixture(*(torch.tensor(one, dtype=torch.float64) for one in (weights, means, stds)))
    new, likelihood = em_step(torch.tensor(x, dtype=torch.float64), mixture, smallest=1e-3)
    assert likelihood == pytest.approx(sum(math.log(sum(row)) for row in joint) / 4)
    for k in (0, 1):
        posterior = [row[k] / sum(row) for row in joint]
        total = sum(posterior)
        mean = sum(posterior[n] * x[n] for n in range(4)) / total
        variance = sum(posterior[n] * (x[n] - mean) ** 2 for n in range(4)) / total
        assert [one[k].item() for one in new] == pytest.approx([total / 4, mean, math.sqrt(variance)])


def test_modes_are_found():
    torch.manual_seed(0)
    parts = [torch.randn(n, dtype=torch.float64) * s + m for n, m, s in ((6000, -5, 1), (3000, 0, 0.3), (1000, 8, 2))]
    weights, means, stds = fit_mixture(torch.cat(parts), 10, 1e-3)
    assert means.tolist() == pytest.approx([-5, 0, 8], abs=0.2)
    assert weights.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    assert stds.tolist() == pytest.approx([1, 0.3, 2], rel=0.1)
    assert len(fit_mixture(parts[0], 10, 1e-3).means) == 1


def test_a_common_value_is_a_narrow_mode():
    torch.manual_seed(1)
    values = torch.cat([torch.zeros(900), torch.rand(100) * 1000 + 500]).double()
    weights, means, stds = fit_mixture(values, 10, 0.5)
    assert (means[0].item(), stds[0].item()) == pytest.approx((0, 0.5), abs=1e-6)
    assert weights[0] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [1.0, 2.0], [1e12, -1e12, 0.0]])
def test_few_values_give_finite_modes(values):
    mixture = fit_mixture(torch.tensor(values, dtype=torch.float64), 10, 1e-3)
    assert all(one.isfinite().all() for one in mixture)
    assert mixture.weights.sum().item() == pytest.approx(1)


def test_the_two_most_similar_gaussians_become_one():
    mixture = Mixture(*(torch.tensor(one, dtype=torch.float64) for one in ([0.2, 0.5, 0.3], [0, 9, 1], [1, 1, 1])))
    weights, means, stds = merge_closest(mixture)
    # Mean 0.3 * 1 / 0.5, and variance 1 + 0.4 * 0.6 * 1.
    assert (weights.tolist(), means.tolist()) == (pytest.approx([0.5, 0.5]), pytest.approx([9, 0.6]))
    assert stds.tolist() == pytest.approx([1, math.sqrt(1.24)])
