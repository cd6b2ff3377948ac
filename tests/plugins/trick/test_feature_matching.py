"""Trick: feature matching."""

import pytest
import torch

from gankit_plugins.trick.feature_matching import feature_matching


def test_squared_distance_of_the_means_by_a_naive_loop():
    real, fake = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    expected = 0.0
    for f in range(3):
        expected += (sum(real[:, f].tolist()) / 4 - sum(fake[:, f].tolist()) / 6) ** 2
    assert feature_matching(real, fake).item() == pytest.approx(expected)


def test_terms_of_g_are_replaced_and_those_of_d_are_not(assembled):
    def terms(**settings):
        return assembled({"tricks": {"feature_matching": settings}}).terms

    assert [t.name for t in terms()["generator"]] == ["feature_matching"]
    assert [t.name for t in terms()["discriminator"]] == ["adversarial"]
    both = terms(weight=3.0, adversarial_weight=0.25)["generator"]
    assert [(t.name, t.weight) for t in both] == [("adversarial", 0.25), ("feature_matching", 3.0)]
