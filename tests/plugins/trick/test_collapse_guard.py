"""Trick: collapse guard."""

import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter
from gankit_plugins.trick.collapse_guard import CollapseGuard
from gankit_plugins.trick.discriminator_confidence import excess


@given(st.floats(-10, 10), st.floats(0, 1))
def test_excess_is_the_divergence_of_target_and_output(logit, t):
    """Check t ln(t / s) + (1 - t) ln((1 - t) / (1 - s))."""
    s = 1 / (1 + math.exp(-logit))
    expected = (t * math.log(t / s) if t else 0) + ((1 - t) * math.log((1 - t) / (1 - s)) if t < 1 else 0)
    assert excess(torch.tensor([logit]), t).item() == pytest.approx(expected, abs=2e-5)


def test_excess_loss_is_0_where_outputs_equal_targets():
    target = torch.tensor([0.1, 0.9])
    assert excess(torch.logit(target), target).item() == pytest.approx(0, abs=1e-6)


def train(plugin, logits_per_check, every):
    """Run the hooks with these logits for real images, and the negative ones for fake images, one per check."""
    run = SimpleNamespace(iteration=0, stopped=None, ranks=SimpleNamespace(mean=lambda x: x))
    run.stop = lambda reason: setattr(run, "stopped", reason)
    for logit in logits_per_check:
        for _ in range(every):
            logits = torch.tensor([float(logit)])
            step = SimpleNamespace(
                real_output=SimpleNamespace(logits=logits),
                fake_output=SimpleNamespace(logits=-logits),
                real_target=1.0,
                fake_target=0.0,
            )
            plugin.after_d_step(run=run, step=step)
            run.iteration += 1
            plugin.after_iteration(run=run)
            if run.stopped:
                return run
    return run


def guard(**settings):
    return CollapseGuard(CollapseGuard.Config(every=3, patience=2, **settings))


def test_run_stops_after_enough_checks_with_a_low_loss():
    run = train(guard(), [1, 9, 1, 9, 9, 9], 3)
    assert run.iteration == 15
    assert "below 0.01 for 6 iterations" in run.stopped
    assert "instance_noise" in run.stopped


@pytest.mark.parametrize("logit", [0, 0.5, 3])
def test_constant_loss_does_not_stop_the_run(logit):
    assert train(guard(), [logit] * 30, 3).stopped is None


def test_run_stops_with_a_reason_and_continues_after_a_resume(plain_recipe, tmp_path):
    """Targets that D cannot miss: everything counts as won, from the first look on."""
    tricks = {"collapse_guard": {"every": 1, "patience": 4, "threshold": 1000.0}}
    raw = merge(plain_recipe("igan"), {"tricks": tricks, "train": {"iterations": 9}})
    _, outcome = start(Recipe.from_dict(raw), tmp_path / "whole", Reporter())
    assert outcome.iterations == 4
    assert "it separates all images" in outcome.stop_reason
    start(Recipe.from_dict(merge(raw, {"train": {"iterations": 2}})), tmp_path / "cut", Reporter())
    _, resumed = resume(tmp_path / "cut", ["train.iterations=9"], Reporter())
    assert resumed.iterations == 4
    # The first is this process's own until it ends.
    shutil.copytree(tmp_path / "cut", tmp_path / "stopped")
    _, nevertheless = resume(tmp_path / "stopped", [], Reporter())
    assert nevertheless.iterations == 8


def test_loss_without_cross_entropy_causes_a_warning(plain_recipe):
    raw = merge(plain_recipe("igan"), {"tricks": {"collapse_guard": {}}})
    assert assemble(Recipe.from_dict(raw)).warnings == []
    for change, loss in [
        ({"loss": {"use": "hinge"}}, "the loss 'hinge'"),
        ({"loss": {"use": "least_squares"}}, "the loss 'least_squares'"),
        ({"tricks": {"relativistic_average": {}}}, "relativistic_average"),
    ]:
        (sentence,) = assemble(Recipe.from_dict(merge(raw, change))).warnings
        assert sentence.startswith(f"tricks.collapse_guard: with {loss} D's outputs are not logits of a probability")
