"""Best generator by a metric, and an early end without improvement."""

import json
import math
import random
from dataclasses import replace

import pytest

from gankit import InputError, Plugin, hookimpl
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.sampling.sampler import Sampler
from gankit.storage.checkpoint import read_tensors
from gankit.storage.run_dir import RunDir
from gankit.training import loop
from gankit.training.best import Best
from tests.gankit.training.test_ending import interrupted_once


@pytest.fixture
def scripted(train_toy):
    """Return a function that trains the toy recipe with a metric of the given values, one for each iteration."""

    def train(values, out="run", metric="error", **changes):
        output = {"keep_best": metric, "log_every": 1, "checkpoint_every": 100} | changes.pop("output", {})
        return train_toy(
            out,
            train={"iterations": len(values)} | changes.pop("train", {}),
            output=output,
            extractor={"use": "Plain"},
            evaluation={"count": 4, "every": 1, "budget": 1.0},
            metrics={"Scripted": {"values": values, "called": metric}} | changes.pop("metrics", {}),
            **changes,
        )

    return train


def card_of(path):
    return read_tensors(path / "best.safetensors")[1]


def naive(values, better):
    """Return the first best finite value, its iteration, and the number of values after it."""
    finite = [(value, i) for i, value in enumerate(values, 1) if math.isfinite(value)]
    if not finite:
        return None, 0, len(values)
    choose = min if better == "lower" else max
    value = choose(value for value, _ in finite)
    iteration = next(i for v, i in finite if v == value)
    return value, iteration, len(values) - iteration


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_any_sequence_has_the_best_value_of_a_naive_search(better):
    draw = random.Random(0)
    for _ in range(200):
        values = draw.choices([1.0, 2.0, 3.0, -1.0, 0.0, math.nan, math.inf, -math.inf], k=draw.randint(0, 8))
        best = Best("m", better)
        for iteration, value in enumerate(values, 1):
            best = best.after(iteration, value)
        assert (best.value, best.iteration, best.misses) == naive(values, better)
        assert best.evaluated == len(values)
        assert Best("m", better).restored(json.loads(json.dumps(best.to_json()))) == best
        assert replace(best, metric="other").restored(best.to_json()).metric == "other"


@pytest.mark.parametrize(
    ("metric", "values", "iteration", "value"),
    [
        ("error", ["3", "2", "2", "5"], 2, 2.0),
        ("quality", ["3", "2", "7", "5"], 3, 7.0),
        ("error", ["3", "4", "5"], 1, 3.0),
        ("error", ["nan", "4", "nan", "", "6"], 2, 4.0),
        ("error", ["3", "2", "1"], 3, 1.0),
    ],
)
def test_the_best_generator_is_kept(scripted, metric, values, iteration, value):
    run = scripted(values, metric=metric)
    card = card_of(run.path)
    assert card["iteration"] == iteration
    assert card["best"] == {"metric": metric, "value": value, "iteration": iteration} == run.reporter.outcome.best
    # It is the generator of a run that ends at this iteration.
    shorter = scripted(values[:iteration], "shorter", metric)
    tensors, expected = (
        read_tensors(r.path / f)[0] for r, f in ((run, "best.safetensors"), (shorter, "generator.safetensors"))
    )
    assert all(tensors[name].equal(expected[name]) for name in expected)
    record = read_run(run.path)
    assert record.best == card["best"]
    assert f"{metric} {value:g} at iteration {iteration}" in page([record])
    images, _ = Sampler.load(run.path / "best.safetensors").sample(2)
    assert len(images) == 2


def test_without_a_finite_value_there_is_no_best_generator(scripted):
    run = scripted(["nan", "inf", ""])
    assert not (run.path / "best.safetensors").exists()
    assert run.reporter.outcome.best is None
    assert read_run(run.path).best is None


def test_a_metric_does_not_change_the_training(scripted, train_toy):
    kept = scripted(["3", "2", "4"])
    plain = train_toy("plain", train={"iterations": 3}, output={"log_every": 1, "checkpoint_every": 100})
    names = ["generator", "discriminator", "optimizer", "random"]
    for name in names:
        files = [(r.path / "checkpoints" / "000003" / f"{name}.safetensors").read_bytes() for r in (kept, plain)]
        assert files[0] == files[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"output": {"keep_best": "fid"}},
            r"output\.keep_best: 'fid' given; .* it has quality, error\. Add the metric",
        ),
        (
            {"output": {"keep_best": "undeclared"}},
            r"output\.keep_best: 'undeclared' given; .*better = \{\"undeclared\"",
        ),
        ({"metrics": {}}, r"output\.keep_best: 'error' given; .* it has none\. Add the metric"),
    ],
)
def test_a_metric_that_the_recipe_lacks_is_refused_before_training(shelf, toy_run, changes, message):
    class Undeclared(Plugin):
        name, kind = "undeclared", "metric"

        @hookimpl
        def compute_metrics(self):
            return {"undeclared": 1.0}

    shelf.add(Undeclared)
    metrics = {"Scripted": {"values": ["1"]}, "Undeclared": {}}
    with pytest.raises(InputError, match=message):
        toy_run(**{"output": {"keep_best": "error"}, "metrics": metrics, "extractor": {"use": "Plain"}} | changes)


def test_patience_needs_a_metric(toy_run):
    with pytest.raises(InputError, match=r"output\.patience: 3 given; set keep_best to a metric too") as error:
        toy_run(output={"patience": 3})
    assert "\n" not in str(error.value)


def test_two_metrics_of_one_plugin_have_their_own_names(toy_run):
    metrics = {"a": {"use": "Scripted", "values": ["1"]}, "b": {"use": "Scripted", "values": ["1"]}}
    run = toy_run(output={"keep_best": "metrics.b.error"}, metrics=metrics, extractor={"use": "Plain"})
    assert run.best == Best("metrics.b.error", "lower")


# Early end


@pytest.mark.parametrize(
    ("values", "end"),
    [
        (["3", "2", "2", "2.5", "1", "1", "1", "1"], 4),
        (["3", "nan", "2", "nan", "nan", "1"], 5),
        (["3", "", "4", "", "1", "2", "2", "0"], 7),
        (["3", "4", "2", "3", "1", "2"], 6),
        (["nan", "nan", "1"], 2),
        # The last evaluation belongs to a complete run.
        (["3", "4", "5"], 3),
    ],
)
def test_a_run_ends_without_improvement(scripted, values, end):
    run = scripted(values, output={"patience": 2})
    outcome, log = run.reporter.outcome, RunDir.open(run.path).read_log()
    assert outcome.iterations == end
    assert not outcome.interrupted
    reasons = [(row["iteration"], row["stopped"]) for row in log if "stopped" in row]
    if end == len(values):
        assert (outcome.stop_reason, reasons) == (None, [])
        return
    assert reasons == [(end, outcome.stop_reason)]
    assert outcome.stop_reason.startswith("error has not improved for 2 evaluations; ")
    assert outcome.stop_reason in page([read_run(run.path)]).replace("&#39;", "'")


def test_a_resume_after_an_early_end_has_patience_again(scripted, resume_toy):
    run = scripted(["3", "4", "4", "4", "4", "4"], output={"patience": 2})
    assert [run.reporter.outcome.iterations] == [3]
    assert resume_toy().reporter.outcome.iterations == 5
    more = resume_toy("run", "output.patience=9")
    assert (more.reporter.outcome.iterations, more.reporter.outcome.stop_reason) == (6, None)


def test_another_metric_after_a_resume_starts_anew(scripted, resume_toy):
    other = {"use": "Scripted", "values": ["1", "9", "1", "6", "5"], "called": "quality"}
    run = scripted(["3", "2", "4", "4", "4"], train={"iterations": 3}, metrics={"other": other})
    assert card_of(run.path)["iteration"] == 2
    with pytest.raises(InputError, match="keep_best"):
        resume_toy("run", "train.iterations=5", "output.keep_best=fid")
    assert card_of(run.path)["iteration"] == 2
    resume_toy("run", "train.iterations=5", "output.keep_best=quality")
    assert card_of(run.path)["best"] == {"metric": "quality", "value": 6.0, "iteration": 4}


# Kill and resume


@pytest.mark.parametrize("function", ["evaluate", "save_best"])
@pytest.mark.parametrize("call", [2, 3, 5])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_a_killed_and_resumed_run_keeps_the_same_bytes(
    scripted, resume_toy, monkeypatch, function, call, checkpoint_every
):
    values = ["5", "4", "3", "4", "2", "6", "7", "1"]
    options = {"output": {"checkpoint_every": checkpoint_every, "patience": 2}}
    whole = scripted(values, "whole", **options)
    assert whole.reporter.outcome.iterations == 7
    with monkeypatch.context() as patched:
        real, calls = getattr(loop, function), []

        def killed(*arguments):
            calls.append(1)
            if len(calls) == min(call, 4 if function == "save_best" else 7):
                raise KeyboardInterrupt
            return real(*arguments)

        patched.setattr(loop, function, killed)
        with pytest.raises(KeyboardInterrupt):
            scripted(values, **options)
    resumed = resume_toy()
    assert resumed.reporter.outcome.stop_reason == whole.reporter.outcome.stop_reason
    assert resumed.reporter.outcome.iterations == 7
    assert (resumed.path / "best.safetensors").read_bytes() == (whole.path / "best.safetensors").read_bytes()
    assert resumed.generator == whole.generator
    state = [(r.path / "checkpoints" / "000007" / "state.json").read_bytes() for r in (whole, resumed)]
    assert state[0] == state[1]
    logs = [
        [
            (row["iteration"], [k for k in ("loss", "metrics", "stopped") if k in row])
            for row in RunDir(r.path).read_log()
        ]
        for r in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_a_kill_before_the_last_best_generator_is_repaired(scripted, resume_toy, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_best", interrupted_once("save_best"))
        with pytest.raises(KeyboardInterrupt):
            scripted(["", "", "3"])
    run = resume_toy()
    assert card_of(run.path)["iteration"] == 3
    assert run.reporter.outcome.best == {"metric": "error", "value": 3.0, "iteration": 3}
