"""Tests of the metrics of a run: rows, protocol, labels, errors, and no effect on the training."""

import copy
from types import SimpleNamespace

import pytest
import torch

from gankit import InputError, Plugin, Session, Settings, hookimpl
from gankit.evaluation import evaluator
from gankit.evaluation.evaluator import condition_for, select
from gankit.plugin.comparison import Samples
from gankit.plugin.condition import ClassCondition
from gankit.plugin.dataset import Rows
from gankit.testing import tiny_recipe
from gankit.testing.tiny_plugins import TinyData, TinyExtractor
from gankit.training.launch import start
from tests.gankit.conftest import RecordingReporter

EVERY = {"every": 1, "count": 16, "budget": 1.0}


@pytest.fixture
def train(tmp_path):
    """Return a function that trains the tiny recipe with metrics; it returns the run directory and the reporter."""

    def call(name="run", plugins=None, evaluation=EVERY, metrics=("tiny",), **changes):
        reporter = RecordingReporter()
        tables = {"evaluation": evaluation, "extractor": {"use": "tiny"}, "metrics": {name: {} for name in metrics}}
        directory, _ = start(tiny_recipe(plugins or {}, tables | changes), tmp_path / name, reporter)
        return directory, reporter

    return call


def plugin(kind, name, **hooks):
    """Return a plugin class with these hooks."""
    return type(name, (Plugin,), {"name": name, "kind": kind} | {key: hookimpl(hook) for key, hook in hooks.items()})


def metric(compute):
    """Return a metric plugin class whose hook calls `compute(comparison)`."""
    return plugin("metric", compute.__name__, compute_metrics=lambda self, comparison: compute(comparison))


def metric_rows(directory):
    return [row for row in directory.read_log() if "metrics" in row]


def test_select_depends_on_the_seed_alone():
    images, labels = torch.arange(20).view(20, 1, 1, 1), torch.arange(20)
    names = ClassCondition(tuple("abcdefghijklmnopqrst"))
    one, same, other = (select(Rows(images, labels), 5, seed, names) for seed in (0, 0, 1))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(one.images.flatten(), one.labels)
    assert sorted(select(Rows(images, labels), 50, 0, names).labels.tolist()) == list(range(20))
    assert one.class_names == names.names
    assert select(Rows(images), 5, 0, names).class_names == ()


def test_rows_hold_metrics_protocol_and_time(train, capsys, monkeypatch):
    monkeypatch.setattr(evaluator, "LONG_PREPARATION", -1.0)
    directory, reporter = train()
    rows = metric_rows(directory)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"iteration", "metrics", "protocol", "settings", "seconds"} for row in rows)
    assert rows[0]["metrics"].keys() == {"mean_distance"}
    facts = {"split": "all", "real images": 16, "generated images": 16, "seed": 0, "generator": "newest"}
    facts |= {"generated resize": "none", "labels": "as in the data"}
    assert rows[0]["protocol"].items() > facts.items()
    assert rows[0]["protocol"].keys() == {*facts, "real", "extractor"}
    assert rows[0]["settings"] == {}, "the metric has none"
    assert reporter.metrics == (4, rows[-1]["metrics"])
    assert [message for message in reporter.messages if message.startswith("evaluation took ")]
    # Slow preparation is not a warning, which the report would show as a problem of the run.
    assert "preparing the metrics took 0 s; the result is cached for later runs" in capsys.readouterr().err
    assert reporter.warnings == []
    assert not any("warning" in row for row in directory.read_log())


def test_without_an_extractor_metrics_compare_the_samples(tmp_path):
    def brightness(comparison):
        return {"brightness": comparison.fake.images.float().mean().item()}

    averaged = plugin("trick", "averaged", sampling_generator=lambda self, run: copy.deepcopy(run.generator))
    recipe = tiny_recipe({metric(brightness): {}, averaged: {}}, {"evaluation": EVERY, "extractor": {"use": "tiny"}})
    del recipe.components["extractor"]
    directory, _ = start(recipe, tmp_path / "run", RecordingReporter())
    row = metric_rows(directory)[-1]
    assert row["metrics"].keys() == {"brightness"}
    assert "extractor" not in row["protocol"]
    assert row["protocol"]["generator"] == "averaged"


def test_random_numbers_of_a_metric_or_an_extractor_do_not_change_the_training(train, tmp_path, monkeypatch):
    build = TinyExtractor.build_extractor

    def build_extractor(self, dataset):
        torch.rand(1)
        return build(self, dataset)

    def draws(comparison):
        return {"draws": torch.rand(1).item()}

    without, _ = start(tiny_recipe(), tmp_path / "without", RecordingReporter())
    monkeypatch.setattr(TinyExtractor, "build_extractor", hookimpl(build_extractor))
    directory, _ = train("with", {metric(draws): {}})
    for name in ("random.safetensors", "generator.safetensors"):
        assert (directory.checkpoint(4) / name).read_bytes() == (without.checkpoint(4) / name).read_bytes()


def test_beyond_the_budget_only_the_end_is_evaluated(train):
    directory, _ = train(evaluation=EVERY | {"budget": 1e-9})
    assert [row["iteration"] for row in metric_rows(directory)] == [4]
    record = directory.read_last_environment()["ended"]["evaluation"]
    assert record["left_out"] == 3, "the last one always takes place"
    assert record["seconds"] > 0
    assert 0 < record["share"] <= 1


@pytest.mark.parametrize(
    ("train_table", "rule"), [({}, "as in the data"), ({"class_balanced": True, "batch_size": 9}, "even shares")]
)
def test_samples_have_the_labels_of_the_real_images(train, train_table, rule):
    comparisons = []

    def record(comparison):
        comparisons.append(comparison)
        return {"record": 1.0}

    data = {"classes": 3, "count": 32}
    train("run", {metric(record): {}}, {"count": 20}, (), data=data, train=train_table)
    real, fake, protocol = comparisons[-1].real, comparisons[-1].fake, comparisons[-1].protocol
    assert real.class_names == fake.class_names == ("a", "b", "c")
    assert torch.equal(fake.labels, torch.arange(20) % 3 if train_table else real.labels)
    assert protocol["labels"] == rule


def test_other_class_names_get_even_labels():
    def labels_of(names, real):
        spec = SimpleNamespace(class_balanced=False)
        even = lambda count, seed: torch.arange(count) % 2  # noqa: E731
        sampler = SimpleNamespace(condition=ClassCondition(names), class_names=names, spec=spec, conditions=even)
        return condition_for(sampler, 5, 0, real).tolist()

    real = Samples(torch.zeros(3, 1, 1, 1), torch.tensor([1, 1, 0]), ClassCondition(("a", "b")))
    assert labels_of(("a", "b"), real) == [1, 1, 0, 1, 1]
    assert labels_of(("b", "a"), real) == [0, 1, 0, 1, 0]
    assert labels_of(("a", "b"), Samples(torch.zeros(3, 1, 1, 1))) == [0, 1, 0, 1, 0]


class FailsAtFirst(Plugin):
    """Metric that fails three times. Source: none."""

    name, kind, calls = "fails_at_first", "metric", 0

    class Config(Settings):
        level: int = 0

    @hookimpl
    def compute_metrics(self, comparison):
        self.calls += 1
        if self.calls < 4:
            raise InputError("these images are all equal")
        return {"value": 1.0}


def test_a_metric_that_fails_causes_one_warning(train):
    evaluation, changes = EVERY | {"count": 40}, {"train": {"iterations": 6}, "data": {"count": 64}}
    directory, reporter = train("run", {FailsAtFirst: {}}, evaluation, (), **changes)
    assert reporter.outcome.iterations == 6
    assert reporter.warnings == ["metrics.fails_at_first: these images are all equal"]
    # It fails in the trial and in two evaluations.
    assert [(row["iteration"], bool(row["metrics"])) for row in metric_rows(directory)] == [
        (i, i > 2) for i in range(1, 7)
    ]
    assert metric_rows(directory)[-1]["settings"] == {"value": {"fails_at_first.level": 0}}


def test_a_metric_that_fails_is_an_error_in_a_session():
    recipe = tiny_recipe({FailsAtFirst: {}}, {"extractor": {"use": "tiny"}, "evaluation": {"count": 8}})
    with Session(recipe) as session, pytest.raises(InputError, match=r"metrics\.fails_at_first"):
        session.metrics()


def test_images_are_read_once(train, monkeypatch):
    reads, read, build = [], TinyData.read, TinyExtractor.build_extractor

    def build_with_data(self, dataset):
        dataset.load()
        return build(self, dataset)

    monkeypatch.setattr(TinyData, "read", lambda self: reads.append(1) or read(self))
    monkeypatch.setattr(TinyExtractor, "build_extractor", hookimpl(build_with_data))
    train()
    assert len(reads) == 1


def test_an_extractor_that_cannot_be_built_is_an_error_before_anything_is_written(tmp_path):
    def build_extractor(self):
        raise InputError("path: there is no net.pt")

    extractor = plugin("extractor", "missing_file", build_extractor=build_extractor)
    with pytest.raises(InputError, match=r"extractor: path: there is no net\.pt"):
        start(tiny_recipe({extractor: {}}, {"metrics": {"tiny": {}}}), tmp_path / "run", RecordingReporter())
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_compared_do_not_end_the_run(train, monkeypatch):
    def refuse(*arguments, **options):
        raise InputError("one image cannot be compared")

    monkeypatch.setattr(evaluator, "Comparison", refuse)
    directory, reporter = train()
    assert reporter.outcome.iterations == 4
    assert reporter.warnings == ["metrics.tiny: one image cannot be compared"]
    assert not any(row["metrics"] for row in metric_rows(directory))


def test_features_of_the_whole_dataset_are_computed_once(train, monkeypatch):
    sizes, calls, cached_features = [], [], evaluator.cached_features

    def everything(comparison):
        sizes.append((comparison.real_is_whole_dataset, len(comparison.dataset_features.values)))
        return {"everything": 1.0}

    def counted(real, *more):
        calls.append(len(real.images))
        return cached_features(real, *more)

    monkeypatch.setattr(evaluator, "cached_features", counted)
    for count in (40, 64):
        train(str(count), {metric(everything): {}}, EVERY | {"count": count}, (), data={"count": 64})
    # One trial and four evaluations each.
    assert sizes == [(False, 64)] * 5 + [(True, 32)] + [(True, 64)] * 4
    assert calls == [40, 64, 64]


def test_metrics_get_the_networks_of_the_run_in_evaluation_mode(train):
    found = []

    def networks(comparison):
        found.append({name: network.training for name, network in comparison.networks.items()})
        return {"number": 1.0}

    train(plugins={metric(networks): {}}, metrics=("networks",))
    assert found
    assert all(one == {"generator": False, "discriminator": False} for one in found)
