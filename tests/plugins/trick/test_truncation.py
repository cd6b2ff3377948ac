"""Trick: truncation."""

import pytest
import torch

from gankit import InputError, truncated
from gankit.errors import RecipeError
from gankit.recipe.toml import merge
from gankit.sampling.grid import GridSampler
from gankit.sampling.sampler import Sampler
from gankit_plugins.latent.normal import Normal


@pytest.mark.parametrize("threshold", [0.05, 0.5, 2.0])
def test_values_beyond_the_threshold_are_replaced_and_others_stay(threshold):
    randomness = torch.Generator().manual_seed(0)
    z = torch.randn(200, 10, generator=randomness)
    cut = truncated(z, lambda: torch.randn(200, 10, generator=randomness), threshold)
    assert cut.abs().max() <= threshold
    within = z.abs() <= threshold
    assert torch.equal(cut[within], z[within])


def test_distribution_within_is_the_priors():
    """The second moment of a normal variable cut at 1 is 1 - 2 phi(1) / (2 Phi(1) - 1), about 0.2911."""
    randomness = torch.Generator().manual_seed(0)
    cut = truncated(torch.full((400_000,), 9.0), lambda: torch.randn(400_000, generator=randomness), 1.0)
    assert cut.square().mean().item() == pytest.approx(0.29112, abs=0.003)


def test_prior_with_nothing_within_is_refused():
    with pytest.raises(InputError, match=r"truncation 0\.5: the prior has almost no numbers below it"):
        truncated(torch.ones(2), lambda: torch.ones(2), 0.5)


def test_only_sampling_is_truncated(start_run):
    run = start_run({"tricks": {"truncation": {"threshold": 0.3}}})
    sampler = Sampler(run.sampled_generator(), run.hooks, run.spec, run.device)
    assert sampler.latent(50, None, 0).abs().max() <= 0.3
    assert sampler.latent(50, None, 0, truncation=0.1).abs().max() <= 0.1
    assert GridSampler(run).z.abs().max() <= 0.3
    assert run.draw_latent(50, None).abs().max() > 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["truncated z may cause artefacts"]),
        ({"tricks": {"relaxed_orthogonal_regularization": {}}}, []),
        ({"latent": {"use": "uniform"}}, ["truncation needs a normal prior", "truncated z may cause artefacts"]),
    ],
)
def test_warnings_about_the_recipe(assembled, change, expected):
    warnings = assembled(merge({"tricks": {"truncation": {}}}, change)).warnings
    assert len(warnings) == len(expected)
    assert all(
        f"tricks.truncation: {message}" in sentence for message, sentence in zip(expected, warnings, strict=True)
    )


def test_a_prior_with_dependent_components_is_refused(assembled, monkeypatch):
    monkeypatch.setattr(Normal, "independent_prior", False)
    with pytest.raises(RecipeError, match=r"tricks\.truncation: the prior normal does not allow truncation, because"):
        assembled({"tricks": {"truncation": {}}})
