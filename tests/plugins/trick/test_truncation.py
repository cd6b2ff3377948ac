"""Trick: truncation."""

import pytest
import torch

from gankit import InputError, truncated
from gankit.errors import RecipeError
from gankit.recipe.toml import merge
from gankit.sampling.generator_file import save_generator
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


def test_a_prior_without_truncate_latent_is_refused(assembled, monkeypatch):
    monkeypatch.delattr(Normal, "truncate_latent")
    with pytest.raises(RecipeError, match=r"tricks\.truncation: z of the prior normal cannot be truncated; remove"):
        assembled({"tricks": {"truncation": {}}})


def test_settings_at_sampling_time(start_run, tmp_path):
    run = start_run({"tricks": {"truncation": {"threshold": 0.3}}})
    save_generator(run, path := tmp_path / "g.safetensors")
    assert Sampler.load(path, "cpu").latent(50, None, 0).abs().max() <= 0.3
    other = Sampler.load(path, "cpu", overrides=["tricks.truncation.threshold=0.1"])
    assert other.latent(50, None, 0).abs().max() <= 0.1
    own = start_run({"tricks": {"truncation": {"threshold": 0.1}}})
    expected = Sampler(own.sampled_generator(), own.hooks, own.spec, own.device).latent(50, None, 0)
    assert torch.equal(other.latent(50, None, 0), expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.generator.lr=1",
            "is not a setting of a plugin that acts when .* draws",
        ),
        ("train.iterations=1", "these do: latent, generator, normalization.generator, tricks.truncation"),
        ("tricks.truncation.use=hinge", "cannot be exchanged"),
        ("tricks.truncation.treshold=1", "unknown key; did you mean 'threshold'"),
        ("tricks.truncation.threshold=-1", "greater than 0"),
        ("generator.hidden=[3]", r"its weights do not fit generator.hidden=\[3\]"),
        ("tricks.truncation.threshold", "an override is key=value"),
    ],
)
def test_wrong_settings_at_sampling_time_are_refused(start_run, tmp_path, override, message):
    changes = {"tricks": {"truncation": {}}, "generator": {"use": "mlp", "hidden": [4]}}
    save_generator(start_run(changes), path := tmp_path / "g.safetensors")
    with pytest.raises(InputError, match=message):
        Sampler.load(path, "cpu", overrides=[override])
