"""End of a run, and a resume after a run that was killed while it ended."""

import re
import signal

import pytest
import torch

from gankit import Dataset, GankitError, InputError, Plugin, hookimpl
from gankit.plugin.condition import ClassCondition
from gankit.storage.run_dir import RunDir
from gankit.training import assembly, loop
from gankit.training.run import TrainingRun
from tests.gankit.training.test_loop import tricks

WITH_METRICS = {
    "extractor": {"use": "pixels"},
    "metrics": {"frechet_distance": {}},
    "evaluation": {"count": 4, "every": 100},
}


@pytest.fixture
def plugins(shelf):
    """Add the plugins of a metric to the toys."""
    from gankit_plugins.extractor.pixels import Pixels
    from gankit_plugins.metric.frechet_distance import FrechetDistance

    shelf.add(Pixels, "pixels", "extractor")
    shelf.add(FrechetDistance, "frechet_distance", "metric")
    return shelf


def iterations_with_metrics(path):
    return [row["iteration"] for row in RunDir.open(path).read_log() if "metrics" in row]


def interrupted_once(name):
    """Return a function of the loop that raises KeyboardInterrupt at its first call, and then works."""
    real, calls = getattr(loop, name), []

    def called(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    return called


@pytest.mark.parametrize("function", ["save_grid", "evaluate"])
def test_a_resume_computes_the_last_metrics_that_are_missing(plugins, train_toy, resume_toy, monkeypatch, function):
    changes = {**WITH_METRICS, "output": {"sample_every": 100}}
    with monkeypatch.context() as patched:
        patched.setattr(loop, function, interrupted_once(function))
        with pytest.raises(KeyboardInterrupt):
            train_toy(**changes)
    run = resume_toy()
    assert iterations_with_metrics(run.path) == [6]
    assert iterations_with_metrics(resume_toy().path) == [6]


def test_a_signal_in_the_last_iteration_leaves_the_last_metrics_to_a_resume(plugins, train_toy, resume_toy):
    class Signals(Plugin):
        name = "signals"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 6:
                signal.raise_signal(signal.SIGINT)

    plugins.add(Signals)
    run = train_toy(**WITH_METRICS, tricks=tricks(Signals))
    assert run.reporter.outcome.interrupted
    assert iterations_with_metrics(run.path) == []
    resumed = resume_toy()
    assert not resumed.reporter.outcome.interrupted
    assert iterations_with_metrics(run.path) == [6]


def test_a_run_that_a_plugin_ends_stays_ended_after_a_kill(plugins, train_toy, resume_toy, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_grid", interrupted_once("save_grid"))
        with pytest.raises(KeyboardInterrupt):
            train_toy(tricks={"stop": {"use": "Stopper", "iteration": 3}}, output={"sample_every": 100})
    run = resume_toy()
    assert (run.reporter.outcome.iterations, run.reporter.outcome.stop_reason) == (3, "that is enough")
    # After a complete end, a resume trains further.
    further = resume_toy()
    assert (further.reporter.outcome.iterations, further.reporter.outcome.stop_reason) == (6, None)


def test_a_stop_by_a_plugin_has_priority_over_a_signal(plugins, train_toy):
    class Both(Plugin):
        name = "both"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 3:
                signal.raise_signal(signal.SIGINT)
                run.stop("three iterations")

    plugins.add(Both)
    outcome = train_toy(tricks=tricks(Both)).reporter.outcome
    assert (outcome.interrupted, outcome.stop_reason) == (False, "three iterations")


def test_on_stop_gets_the_failure_of_a_run(plugins, train_toy):
    failures = []

    class Fails(Plugin):
        name = "fails"

        @hookimpl
        def on_stop(self, run):
            failures.append(run.failure)
            raise RuntimeError("this must not hide the first error")

    plugins.add(Fails)
    with pytest.raises(GankitError, match="fake is nan") as error:
        train_toy(tricks=tricks(Fails) | {"nan": {"use": "NotANumber"}})
    assert failures == [str(error.value)]


@pytest.mark.parametrize(("count", "warned"), [(3, True), (4, False)])
def test_fewer_images_than_a_batch_are_a_warning(train_toy, count, warned):
    warnings = train_toy(train={"batch_size": 4}, data={"count": count, "classes": 0}).reporter.warnings
    assert [s.startswith("data: there are 3 images, and train.batch_size = 4") for s in warnings] == [True] * warned


@pytest.mark.parametrize(
    ("sizes", "balanced", "expected"),
    [
        ((40, 4), False, "class b has 4 images, and class a has 40 images, so .* a multiple of 2"),
        ((1, 30, 90), False, "class a has 1 image, and class c has 90 images, so .* a multiple of 3"),
        ((39, 4), False, None),
        ((40, 4), True, None),
    ],
)
def test_classes_of_unequal_size_are_a_warning(shelf, train_toy, sizes, balanced, expected):
    class Unequal(Plugin):
        name, kind = "unequal", "data"

        @hookimpl
        def load_data(self):
            labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
            return Dataset((1, 8, 8), ClassCondition.of(tuple("abc"[: len(sizes)])), lambda: (images, labels))

    shelf.add(Unequal)
    train = {"class_balanced": balanced, "batch_size": 6}
    run = train_toy(data={"use": "Unequal"}, train=train)
    warnings = [sentence for sentence in run.reporter.warnings if "class_balanced" in sentence]
    assert len(warnings) == (expected is not None)
    assert all(re.search(expected, sentence) for sentence in warnings)


def test_data_that_differ_from_their_description_are_refused_before_training(shelf, train_toy, tmp_path):
    class Broken(Plugin):
        name, kind = "broken", "data"

        @hookimpl
        def load_data(self):
            return Dataset((1, 8, 8), ClassCondition(("a", "b")), lambda: (torch.zeros(8, 1, 8, 8), torch.arange(8)))

    shelf.add(Broken)
    with pytest.raises(InputError, match=r"toy\.toml: data: the condition has labels from 0 to 7, but"):
        train_toy(data={"use": "Broken"})
    assert not list(tmp_path.rglob("log.jsonl"))


@pytest.mark.parametrize(("balanced", "seen"), [(False, [0, 3, 6, 9]), (True, list(range(10)))])
def test_networks_are_checked_with_a_few_of_many_classes(toy_run, monkeypatch, balanced, seen):
    labels = []
    monkeypatch.setattr(assembly, "CHECKED_CLASSES", 4)
    original = TrainingRun.draw_latent
    monkeypatch.setattr(
        TrainingRun, "draw_latent", lambda run, n, y, *rest: labels.append(y) or original(run, n, y, *rest)
    )
    toy_run(data={"classes": 10}, train={"batch_size": 10, "class_balanced": balanced})
    assert labels[0].tolist() == seen
