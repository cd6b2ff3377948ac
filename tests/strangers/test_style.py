"""Tests of the style-based generator."""

import pytest
import torch
from style import Style, adain, truncate

from gankit import InputError, Sampler
from gankit.testing import check_plugin, tiny_run, train_iterations, weights_of
from tests.strangers.conftest import run_gankit


def test_plugin():
    check_plugin(Style, {"width": 8, "style_size": 8, "depth": 2, "psi": 0.7})


def test_adain_is_equation_1():
    x, scale, shift = torch.randn(2, 3, 4, 4), torch.randn(2, 3), torch.randn(2, 3)
    result = adain(x, scale, shift)
    for i in range(2):
        for c in range(3):
            values = x[i, c]
            deviation = (values.square().mean() - values.mean() ** 2).sqrt()
            expected = scale[i, c] * (values - values.mean()) / deviation + shift[i, c]
            torch.testing.assert_close(result[i, c], expected, atol=1e-4, rtol=1e-4)


def test_truncation_is_a_line_from_the_mean_to_w():
    w, mean = torch.randn(5, 8), torch.randn(8)
    assert torch.equal(truncate(w, mean, 0.0), mean.expand(5, 8))
    torch.testing.assert_close(truncate(w, mean, 1.0), w)
    torch.testing.assert_close(truncate(w, mean, 0.25) - mean, (w - mean) / 4)


def test_mean_of_w_is_a_running_mean_of_the_g_steps():
    run = tiny_run({Style: {"decay": 0.9}})
    expected = torch.zeros(32, device=run.device)
    observe = run.generator.observe
    seen = []
    run.generator.observe = lambda w, decay: (seen.append(w), observe(w, decay))
    train_iterations(run, 4)
    for w in seen:
        expected = 0.9 * expected + 0.1 * w
    assert len(seen) == 4
    torch.testing.assert_close(run.generator.w_mean, expected)


def test_training_is_not_truncated():
    half, whole = (train_iterations(tiny_run({Style: {"psi": psi}}), 4) for psi in (0.5, 1.0))
    assert weights_of(half) == weights_of(whole)


def test_other_sizes_are_refused():
    with pytest.raises(InputError, match="not 12x12"):
        tiny_run({Style: {}}, {"data": {"resolution": 12}})


def test_kill_resume_and_sample(killed_run_equals_whole_run, samples_twice):
    file = samples_twice(killed_run_equals_whole_run("style.toml"))
    half = file.with_name("half.png")
    run_gankit("sample", file, "--trust", "--out", half, "--count", 16, "generator.psi=0.5")
    assert half.read_bytes() != file.with_name("a.png").read_bytes()

    def spread(psi):
        sampler = Sampler.load(file, device="cpu", trust=True, overrides=[f"generator.psi={psi}"])
        return sampler.sample(64)[0].float().std(0).mean()

    assert spread(1.0) > spread(0.5) > spread(0.0)
