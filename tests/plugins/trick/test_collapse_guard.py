"""Trick: collapse guard."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit import Recipe
from gankit.recipe.toml import merge
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
    run.roll_back = lambda reason, since: vars(run).update(stopped=reason, since=since)
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
    assert (run.iteration, run.since) == (15, 9)
    assert "below 0.01 for 6 iterations" in run.stopped
    assert "instance_noise" in run.stopped


@pytest.mark.parametrize("logit", [0, 0.5, 3])
def test_constant_loss_does_not_stop_the_run(logit):
    assert train(guard(), [logit] * 30, 3).stopped is None


def test_counter_continues_after_a_resume_and_starts_again_after_a_stop(plain_recipe, tmp_path):
    """With this threshold, D's loss is low at every check. The run ends after two checks and is resumed twice."""
    guarded = {"tricks": {"collapse_guard": {"every": 1, "patience": 4, "threshold": 1000.0}}}
    recipe = Recipe.from_dict(merge(plain_recipe("igan"), guarded | {"train": {"iterations": 2}}))
    start(recipe, tmp_path / "run", Reporter())
    outcomes = [resume(tmp_path / "run", changes, Reporter())[1] for changes in (["train.iterations=9"], [])]
    assert [outcome.iterations for outcome in outcomes] == [4, 8]
    assert all("below 1000 for 4 iterations: it separates all images" in outcome.stop_reason for outcome in outcomes)


def test_run_returns_to_a_checkpoint_from_before_the_low_losses(plain_recipe, tmp_path):
    """The loss is low at every check, so each attempt ends after two checks from its checkpoint."""
    guarded = {"tricks": {"collapse_guard": {"every": 1, "patience": 2, "threshold": 1000.0}}}
    changes = {"train": {"iterations": 9, "rollbacks": 2}, "output": {"checkpoint_every": 1, "keep_checkpoints": 9}}
    directory, outcome = start(
        Recipe.from_dict(merge(plain_recipe("igan"), guarded | changes)), tmp_path / "run", Reporter()
    )
    assert [(r["from"], r["to"]) for r in directory.read_rollbacks()] == [(2, 0), (2, 0)]
    assert (outcome.iterations, outcome.rolled_back) == (2, False)
    assert "below 1000 for 2 iterations" in outcome.stop_reason


def test_loss_without_cross_entropy_causes_a_warning(assembled):
    guarded = {"tricks": {"collapse_guard": {}}}
    assert assembled(guarded).warnings == []
    for change, loss in [
        ({"loss": {"use": "hinge"}}, "the loss 'hinge'"),
        ({"loss": {"use": "least_squares"}}, "the loss 'least_squares'"),
        ({"tricks": {"relativistic_average": {}}}, "relativistic_average"),
    ]:
        (sentence,) = assembled(merge(guarded, change)).warnings
        assert sentence.startswith(f"tricks.collapse_guard: with {loss} D's outputs are not logits of a probability")
