"""Trick: feature matching."""

import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.trick.feature_matching import feature_matching


def test_squared_distance_of_the_means_by_a_naive_loop():
    real, fake = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    expected = 0.0
    for f in range(3):
        expected += (sum(real[:, f].tolist()) / 4 - sum(fake[:, f].tolist()) / 6) ** 2
    assert feature_matching(real, fake).item() == pytest.approx(expected)


def test_equal_means_cost_nothing_whatever_the_spread():
    assert feature_matching(torch.tensor([[1.0], [3.0]]), torch.tensor([[-8.0], [12.0]])).item() == 0


def test_gradient_has_the_closed_form():
    real, fake = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    feature_matching(real, fake).backward()
    difference = (fake.mean(0) - real.mean(0)).detach()
    torch.testing.assert_close(fake.grad, (2 * difference / 4).expand(4, 3))


@pytest.fixture
def terms(plain_recipe):
    def make(**settings):
        raw = merge(plain_recipe("igan"), {"tricks": {"feature_matching": settings}})
        return assemble(Recipe.from_dict(raw)).terms

    return make


def test_it_takes_the_place_of_gs_terms_and_leaves_ds(terms):
    assert [t.name for t in terms()["generator"]] == ["feature_matching"]
    assert [t.name for t in terms()["discriminator"]] == ["adversarial"]
    both = terms(weight=3.0, adversarial_weight=0.25)["generator"]
    assert [(t.name, t.weight) for t in both] == [("adversarial", 0.25), ("feature_matching", 3.0)]
