"""Run directories, read back: whole ones, and such as have been killed, damaged or tidied up."""

import json
import multiprocessing
import shutil
import signal
from dataclasses import replace

import pytest

from gankit import GankitError, InputError, Plugin, hookimpl
from gankit.report.run_record import Measure, read_run
from gankit.storage.run_dir import RunDir


class Watcher(Plugin):
    """Measures the iteration, and has something to say every second one."""

    name = "watcher"

    @hookimpl
    def evaluate(self, run):
        return {"height": float(run.iteration)}

    @hookimpl
    def after_iteration(self, run):
        if run.iteration % 2 == 0:
            run.warn(f"at {run.iteration} <all> is well")


@pytest.fixture
def watched(shelf, play):
    shelf.add(Watcher)
    return lambda out="run", **changes: play(out, **changes, tricks={"Watcher": {"use": "Watcher"}})


def test_a_run_reads_as_it_went(watched):
    run = watched(seed=3, train={"discriminator_steps": 2})
    record = read_run(run.path)
    assert (record.name, record.seed) == ("toy", 3)
    rows = run.told.rows
    assert record.rows == rows
    assert record.losses["discriminator", "real"] == [
        (r["iteration"], r["loss"]["discriminator"]["real"]) for r in rows
    ]
    assert record.rates == {p: [(r["iteration"], 0.01) for r in rows] for p in ("generator", "discriminator")}
    assert record.warnings == [(i, f"at {i} <all> is well") for i in (2, 4, 6)]
    (measure,) = record.metrics
    assert measure.name == "height"
    assert ("data.use", "Blobs") in measure.protocol
    assert record.metrics[measure] == [(3, 3.0), (6, 6.0)]
    assert {i: path.name for i, path in record.grids.items()} == {3: "000003.png", 6: "000006.png"}
    assert record.parameters("generator") == sum(p.numel() for p in run.run.generator.parameters())
    assert record.peak_memory("process") > 10_000_000
    assert record.peak_memory("gpu") is None
    assert (record.ending.state, record.ending.iteration, record.ending.reason) == ("finished", 6, None)
    # Rounded to milliseconds.
    assert run.told.outcome.seconds - 1e-3 <= record.seconds <= run.told.outcome.seconds + 60
    # 2 s at 10 images/s, 3 s at 20, and 1 s at 5 in another process.
    rows = [{"seconds": s, "images_per_second": i} for s, i in ((2.0, 10), (5.0, 20), (1.0, 5))]
    assert replace(record, rows=rows).images_per_second == pytest.approx((20 + 60 + 5) / 6)


def test_a_plugins_end_is_read_with_its_reason(play):
    ending = read_run(play(tricks={"stop": {"use": "Stopper", "iteration": 3}}).path).ending
    assert (ending.state, ending.iteration, ending.reason) == ("stopped", 3, "that is enough")


def test_a_break_down_is_read_with_its_sentence(play, tmp_path):
    with pytest.raises(GankitError) as error:
        play(tricks={"nan": {"use": "NotANumber", "turn": 3}})
    ending = read_run(tmp_path / "run").ending
    assert (ending.state, ending.iteration, ending.reason) == ("failed", 4, str(error.value))


def test_a_bug_in_a_plugin_is_noted_as_well(shelf, play, tmp_path):
    @shelf.add
    class Bug(Plugin):
        name = "bug"

        @hookimpl
        def after_iteration(self, run):
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        play(tricks={"Bug": {"use": "Bug"}})
    ending = read_run(tmp_path / "run").ending
    assert (ending.state, ending.reason) == ("failed", "ZeroDivisionError: a bug")


def test_time_adds_up_over_resumes(shelf, play, go_on):
    @shelf.add
    class CtrlC(Plugin):
        name = "ctrl_c"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 3:
                signal.raise_signal(signal.SIGINT)

    first = read_run(play(tricks={"CtrlC": {"use": "CtrlC"}}).path)
    assert (first.ending.state, first.ending.iteration) == ("interrupted", 3)
    assert first.seconds == first.processes[0]["ended"]["seconds"]
    again = read_run(go_on("run").path)
    assert (again.ending.state, again.ending.iteration) == ("finished", 6)
    assert [process.get("from") for process in again.processes] == [None, 3]
    assert again.seconds == pytest.approx(first.seconds + again.processes[1]["ended"]["seconds"])
    assert again.images_per_second > 0


def killed(directory):
    """The directory as a kill leaves it: nobody could write down how it ended."""
    note = json.loads(directory.environment_file.read_text())
    del note["ended"]
    directory.write_environment(note)


def test_what_was_killed_is_cut_short_and_what_is_locked_is_running(play):
    run = play()
    directory = RunDir(run.path)
    killed(directory)
    with open(directory.log_file, "a") as file:
        file.write('{"iteration": 8, "lo')
    record = read_run(run.path)
    assert (record.ending.state, record.ending.iteration) == ("cut short", 6)
    assert record.seconds == record.rows[-1]["seconds"]
    assert record.peak_memory("process") is None

    def hold(ready):
        directory.lock()
        ready.set()
        ready.clear()
        multiprocessing.Event().wait(60)

    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    holder = fork.Process(target=hold, args=(ready,), daemon=True)
    holder.start()
    while read_run(run.path).ending.state != "running":
        assert holder.is_alive()
    holder.kill()
    holder.join()
    assert read_run(run.path).ending.state == "cut short"


def test_the_recipe_alone_is_enough(watched):
    path = watched().path
    for other in path.iterdir():
        if other.name != "recipe.toml":
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    record = read_run(path)
    assert (record.ending.state, record.ending.iteration) == ("cut short", 0)
    assert (record.losses, record.rates, record.metrics, record.grids, record.warnings) == ({}, {}, {}, {}, [])
    assert (record.seconds, record.images_per_second, record.parameters("generator")) == (None, None, None)


def test_without_a_recipe_there_is_no_run(watched, tmp_path):
    path = watched().path
    (path / "recipe.toml").write_text("name = ")
    with pytest.raises(InputError, match=r"recipe\.toml: TOML: "):
        read_run(path)
    with pytest.raises(InputError, match="is not a run directory: it does not exist"):
        read_run(tmp_path / "nowhere")


def test_evaluations_are_measures_too_and_the_later_of_two_alike_counts(watched):
    path = watched().path
    rows = [
        {"iteration": 6, "metrics": {"frechet": 12.0, "recall": 0.5}, "protocol": {"count": 2000, "net": "a"}},
        {"iteration": 3, "metrics": {"frechet": 20.0}, "protocol": {"net": "a", "count": 2000}},
        {"iteration": 6, "metrics": {"frechet": 8.0}, "protocol": {"count": 10000, "net": "a"}},
        {"iteration": 6, "metrics": {"frechet": 11.0}, "protocol": {"count": 2000, "net": "a"}, "seconds": 3.0},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"iteration": 9, "meas'
    (path / "evaluations.jsonl").write_text(text)
    found = {m: points for m, points in read_run(path).metrics.items() if m.name != "height"}
    small, large = (("count", "2000"), ("net", "a")), (("count", "10000"), ("net", "a"))
    assert found == {
        Measure("frechet", small): [(3, 20.0), (6, 11.0)],
        Measure("recall", small): [(6, 0.5)],
        Measure("frechet", large): [(6, 8.0)],
    }


def test_a_resume_keeps_how_earlier_processes_ended(play, go_on):
    run = play()
    first = RunDir(run.path).read_environment()["ended"]
    go_on("run", "train.iterations=8")
    note = RunDir(run.path).read_environment()
    assert note["ended"] == first
    assert note["resumed"][0]["from"] == 6
    assert note["resumed"][0]["ended"]["iteration"] == 8
