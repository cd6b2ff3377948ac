"""Records of run directories: complete runs, and runs that were killed, damaged or deleted in part."""

import json
import signal
from contextlib import nullcontext
from dataclasses import replace

import pytest

from gankit import GankitError, InputError, Plugin, hookimpl
from gankit.report.run_record import Ending, Metric, read_run
from gankit.storage.run_dir import RunDir


class Monitor(Plugin):
    """A metric of the image size, and a warning at every second iteration."""

    name = "monitor"

    @hookimpl
    def check_recipe(self, recipe):
        yield f"batches of {recipe.train.batch_size}"

    @hookimpl
    def compute_metrics(self, comparison):
        return {"height": float(comparison.fake.images.shape[-2])}

    @hookimpl
    def after_iteration(self, run):
        if run.iteration % 2 == 0:
            run.warn(f"at {run.iteration} <D> wins")


class Bug(Plugin):
    name = "bug"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 3:
            raise ZeroDivisionError("a bug")


class CtrlC(Plugin):
    name = "ctrl_c"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 3:
            signal.raise_signal(signal.SIGINT)


def test_a_record_has_the_events_of_the_run(shelf, train_toy):
    shelf.add(Monitor)
    run = train_toy(seed=3, tricks={"Monitor": {}}, evaluation={"every": 3, "count": 8, "budget": 1.0})
    record = read_run(run.path)
    assert (record.name, record.seed) == ("toy", 3)
    rows = run.reporter.rows
    assert record.rows == rows
    assert record.losses["discriminator", "real"] == [
        (r["iteration"], r["loss"]["discriminator"]["real"]) for r in rows
    ]
    assert record.learning_rates == {p: [(r["iteration"], 0.01) for r in rows] for p in ("generator", "discriminator")}
    norms = [(row["iteration"], row["gradient_norm"]["generator"]) for row in rows]
    assert record.gradient_norms["generator"] == norms
    assert record.warnings == [(i, f"at {i} <D> wins") for i in (2, 4, 6)]
    assert record.recipe_warnings == ["tricks.Monitor: batches of 8"]
    (metric,) = record.metrics
    assert metric.name == "height"
    assert ("generated images", "8") in metric.protocol
    assert record.metrics[metric] == [(3, 8.0), (6, 8.0)]
    assert {i: path.name for i, path in record.grids.items()} == {3: "000003.png", 6: "000006.png"}
    assert record.parameters("generator") == sum(p.numel() for p in run.run.generator.parameters())
    assert record.peak_memory("process") > 10_000_000
    assert record.peak_memory("gpu") is None
    assert record.ending == Ending("finished", 6, None)
    # Rounded to milliseconds.
    assert run.reporter.outcome.seconds - 1e-3 <= record.seconds <= run.reporter.outcome.seconds + 60
    # 2 s at 10 images/s, 3 s at 20, and 1 s at 5 in another process.
    rows = [{"seconds": s, "images_per_second": i} for s, i in ((2.0, 10), (5.0, 20), (1.0, 5))]
    assert replace(record, rows=rows).images_per_second == pytest.approx((20 + 60 + 5) / 6)


@pytest.mark.parametrize(
    ("trick", "error", "ending"),
    [
        ({"use": "Stopper", "iteration": 3}, None, ("stopped", 3, "that is enough")),
        ({"use": "Bug"}, ZeroDivisionError, ("failed", 3, "ZeroDivisionError: a bug")),
        ({"use": "NotANumber", "turn": 3}, GankitError, ("failed", 4, "iteration 4: the generator's broken is nan")),
    ],
)
def test_endings(shelf, train_toy, tmp_path, trick, error, ending):
    shelf.add(Bug)
    with pytest.raises(error) if error else nullcontext():
        train_toy(tricks={"trick": trick})
    record = read_run(tmp_path / "run").ending
    assert (record.state, record.iteration, record.reason.partition(".")[0]) == ending


def test_the_time_of_all_processes_is_added(shelf, train_toy, resume_toy):
    shelf.add(CtrlC)
    first = read_run(train_toy(tricks={"CtrlC": {}}).path)
    assert first.ending == Ending("interrupted", 3)
    assert first.seconds == first.processes[0]["ended"]["seconds"]
    again = read_run(resume_toy("run").path)
    assert again.ending == Ending("finished", 6)
    assert [process.get("from") for process in again.processes] == [None, 3]
    assert again.processes[0] == first.processes[0]
    assert again.seconds == pytest.approx(first.seconds + again.processes[1]["ended"]["seconds"])
    assert again.images_per_second > 0


def test_a_killed_run_is_cut_short_and_a_locked_run_is_running(train_toy):
    run = train_toy()
    directory = RunDir(run.path)
    # A kill leaves no ending, and half a row.
    environment = json.loads(directory.environment_file.read_text())
    del environment["ended"]
    directory.write_environment(environment)
    with open(directory.log_file, "a") as file:
        file.write('{"iteration": 8, "lo')
    record = read_run(run.path)
    assert record.ending == Ending("cut short", 6)
    assert record.seconds == record.rows[-1]["seconds"]
    assert record.peak_memory("process") is None

    directory.lock()
    assert read_run(run.path).ending.state == "running"
    directory.release()
    assert read_run(run.path).ending.state == "cut short"


def test_only_the_recipe_is_needed(tmp_path):
    with pytest.raises(InputError, match="is not a run directory: it does not exist"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "recipe.toml").write_text("name = ")
    with pytest.raises(InputError, match=r"recipe\.toml: TOML: "):
        read_run(tmp_path)
    (tmp_path / "recipe.toml").write_text("name = 'toy'\n")
    record = read_run(tmp_path)
    assert record.ending == Ending("cut short", 0)
    assert (record.losses, record.learning_rates, record.metrics, record.grids, record.warnings) == ({}, {}, {}, {}, [])
    assert (record.seconds, record.images_per_second, record.parameters("generator")) == (None, None, None)


def test_evaluations_are_read_and_the_later_of_two_values_counts(tmp_path):
    (tmp_path / "recipe.toml").touch()
    rows = [
        {"iteration": 6, "metrics": {"frechet": 12.0, "recall": 0.5}, "protocol": {"count": 2000, "net": "a"}},
        {"iteration": 3, "metrics": {"frechet": 20.0}, "protocol": {"net": "a", "count": 2000}},
        {"iteration": 6, "metrics": {"frechet": 8.0}, "protocol": {"count": 10000, "net": "a"}},
        {"iteration": 6, "metrics": {"frechet": 11.0}, "protocol": {"count": 2000, "net": "a"}, "seconds": 3.0},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"iteration": 9, "metr'
    (tmp_path / "evaluations.jsonl").write_text(text)
    small, large = (("count", "2000"), ("net", "a")), (("count", "10000"), ("net", "a"))
    assert read_run(tmp_path).metrics == {
        Metric("frechet", small): [(3, 20.0), (6, 11.0)],
        Metric("recall", small): [(6, 0.5)],
        Metric("frechet", large): [(6, 8.0)],
    }
