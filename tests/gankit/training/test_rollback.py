"""Rollback: return to the last good checkpoint after NaN or a collapse."""

import json
import re
import signal
import weakref
from typing import ClassVar

import pytest
import torch

from gankit import GankitError, Plugin, hookimpl
from gankit.plugin.slots import PLAYERS
from gankit.recipe.toml import merge
from gankit.report.page import page, severity
from gankit.report.run_record import read_run
from gankit.storage.checkpoint import read_tensors, verify
from gankit.storage.run_dir import RunDir
from gankit.training import loop, rollback
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from tests.gankit.conftest import write_toy_recipe
from tests.gankit.training.test_resume import EVERYTHING, KILLED, assert_same_end, log_of, running_killer

NAN = {"fragile": {"use": "Fragile", "iteration": 5}}
COLLAPSE = {"collapses": {"use": "Collapses", "iteration": 5, "since": 3}}


@pytest.fixture
def fragile(train_toy):
    """Return a function that trains 8 iterations with a trick that fails at the first learning rate."""

    def train(out="run", tricks=NAN, rollbacks=2, **changes):
        return train_toy(
            out,
            train={"iterations": 8, "rollbacks": rollbacks} | changes.pop("train", {}),
            output={"log_every": 1, "sample_every": 8, "checkpoint_every": 2, "keep_checkpoints": 9}
            | changes.pop("output", {}),
            tricks=tricks,
            **changes,
        )

    return train


def rollbacks_in(run):
    return [row["rollback"] for row in RunDir(run.path).read_log() if "rollback" in row]


def state_of(run, iteration):
    return verify(run.path / "checkpoints" / f"{iteration:06d}")


@pytest.mark.parametrize(("tricks", "to"), [(NAN, 4), (COLLAPSE, 2)])
def test_a_run_returns_to_the_last_good_checkpoint(fragile, tricks, to):
    run = fragile(tricks=tricks, output={"sample_every": 1})
    outcome = run.reporter.outcome
    assert (outcome.iterations, outcome.stop_reason, outcome.rolled_back) == (8, None, False)
    assert rollbacks_in(run) == [{"number": 1, "from": 5, "to": to}]
    rows = [row for row in RunDir(run.path).read_log() if "loss" in row]
    # Each iteration has one row, with the learning rate of its attempt.
    assert [row["iteration"] for row in rows] == list(range(1, 9))
    for player in PLAYERS:
        rates = [row["learning_rate"][player] for row in rows]
        assert rates == pytest.approx([0.01] * to + [0.005] * (8 - to))
    assert run.checkpoints == [f"{i:06d}" for i in (0, 2, 4, 6, 8)]
    assert sorted(p.stem for p in (run.path / "samples").iterdir()) == [f"{i:06d}" for i in range(1, 9)]
    reason = "the generator's fragile is nan" if tricks is NAN else "it has collapsed"
    (warning,) = run.reporter.warnings
    assert warning.startswith(f"rollback 1 of 2: from iteration 5 back to the checkpoint of iteration {to}, because")
    assert reason in warning
    assert "multiplied by 0.5" in warning
    record = read_run(run.path)
    assert severity(record) == "warning"
    assert "rollback 1 of 2: from iteration 5" in page([record])
    states = [p["ended"]["state"] for p in record.processes]
    assert states == ["rolled back", "finished"]
    assert record.seconds is not None


def test_the_data_order_and_the_random_numbers_are_new(fragile):
    plain, returned = fragile("plain", tricks={}), fragile()
    for iteration, same in ((4, True), (6, False)):
        one, other = (
            read_tensors(r.path / f"checkpoints/{iteration:06d}/random.safetensors")[0] for r in (plain, returned)
        )
        assert one["cpu"].equal(other["cpu"]) == same
    runs = [r.run.batches.sequences[0] for r in (plain, returned)]
    assert runs[0].epoch == runs[1].epoch
    assert not torch.equal(runs[0].order, runs[1].order)


def test_the_first_rows_are_those_of_a_run_without_rollbacks(fragile):
    plain, returned = fragile("plain", tricks={}, rollbacks=0), fragile(tricks=COLLAPSE)
    rows = [
        [(row["iteration"], row["loss"]) for row in RunDir(r.path).read_log() if "loss" in row][:2]
        for r in (plain, returned)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("tricks", [NAN, COLLAPSE])
def test_after_the_last_rollback_the_run_ends_as_without(fragile, tmp_path, tricks):
    (name, settings), changes = next(iter(tricks.items())), {"train": {"rollback_factor": 0.9}}
    tricks = {name: settings | {"limit": 1e-6}}
    if tricks.keys() == NAN.keys():
        with pytest.raises(GankitError, match=r"iteration 5: the generator's fragile is nan.*2 rollbacks did not help"):
            fragile(tricks=tricks, **changes)
    else:
        run = fragile(tricks=tricks, **changes)
        assert (run.reporter.outcome.iterations, run.reporter.outcome.stop_reason) == (5, "it has collapsed")
    directory = RunDir(tmp_path / "run")
    records = directory.read_rollbacks()
    to = 4 if name == "fragile" else 2
    assert [(r["from"], r["to"]) for r in records] == [(5, to)] * 2
    assert [row["rollback"]["number"] for row in directory.read_log() if "rollback" in row] == [1, 2]
    text = page([read_run(directory.path)])
    assert "rollback 1 of 2: from" in text
    assert "rollback 2 of 2: from" in text
    rates = {row["iteration"]: row["learning_rate"]["generator"] for row in directory.read_log() if "loss" in row}
    assert rates[to] == 0.01
    if name == "collapses":
        assert rates[to + 1] == pytest.approx(0.01 * 0.9**2)
    assert directory.read_last_environment()["ended"]["state"] == ("failed" if name == "fragile" else "stopped")


def test_nan_before_the_first_regular_checkpoint_returns_to_the_start(fragile):
    run = fragile(tricks={"fragile": {"use": "Fragile", "iteration": 1}})
    assert rollbacks_in(run) == [{"number": 1, "from": 1, "to": 0}]
    assert run.reporter.outcome.iterations == 8


def test_a_checkpoint_with_nan_is_not_written(fragile):
    """Without rows in the log, the NaN of iteration 4 is found when the checkpoint of iteration 4 is due."""
    run = fragile(tricks={"fragile": {"use": "Fragile", "iteration": 4}}, output={"log_every": 100})
    assert rollbacks_in(run) == [{"number": 1, "from": 4, "to": 2}]


def test_the_memory_of_an_abandoned_attempt_is_free(toy_recipe, tmp_path):
    class Watching(Reporter):
        runs: ClassVar[list] = []

        def started(self, run, directory):
            assert all(earlier() is None for earlier in self.runs)
            self.runs.append(weakref.ref(run))

    start(toy_recipe(train={"rollbacks": 1}, tricks=NAN), tmp_path / "run", Watching())
    assert len(Watching.runs) == 2


def test_without_rollbacks_there_is_no_checkpoint_of_iteration_0(fragile):
    assert fragile(tricks={}, rollbacks=0).checkpoints[0] == "000002"


def test_a_damaged_checkpoint_is_not_good(fragile, monkeypatch):
    real = rollback.newest_until

    def damaging(directory, iteration):
        file = directory.checkpoint(4) / "generator.safetensors"
        if file.exists():
            file.write_bytes(file.read_bytes()[:50])
        return real(directory, iteration)

    monkeypatch.setattr(rollback, "newest_until", damaging)
    assert rollbacks_in(fragile()) == [{"number": 1, "from": 5, "to": 2}]


def test_a_collapse_that_is_older_than_all_checkpoints_ends_the_run(fragile):
    run = fragile(tricks={"c": {"use": "Collapses", "iteration": 7, "since": 3}}, output={"keep_checkpoints": 1})
    assert (run.reporter.outcome.iterations, run.reporter.outcome.stop_reason) == (7, "it has collapsed")
    assert any("no checkpoint from iteration 3 or earlier" in sentence for sentence in run.reporter.warnings)
    assert rollbacks_in(run) == []


def test_a_failed_run_can_be_resumed_with_rollbacks(fragile, resume_toy, tmp_path):
    with pytest.raises(GankitError, match=r"or train\.rollbacks = 3 to return to the last checkpoint"):
        fragile(rollbacks=0)
    run = resume_toy("run", "train.rollbacks=3", "train.rollback_factor=0.1")
    assert run.reporter.outcome.iterations == 8
    assert rollbacks_in(run) == [{"number": 1, "from": 5, "to": 4}]
    assert run.reporter.rows[-1]["learning_rate"]["generator"] == pytest.approx(0.001)


def test_an_interrupted_run_does_not_go_on_after_its_rollback(shelf, fragile, resume_toy):
    class Signals(Plugin):
        name = "signals"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 5:
                signal.raise_signal(signal.SIGINT)

    shelf.add(Signals)
    run = fragile(tricks=NAN | {"Signals": {}})
    assert (run.reporter.outcome.rolled_back, run.reporter.outcome.interrupted) == (True, True)
    assert rollbacks_in(run) == []
    resumed = resume_toy()
    assert rollbacks_in(resumed) == [{"number": 1, "from": 5, "to": 4}]


def test_the_best_generator_of_an_abandoned_attempt_is_kept(fragile):
    values = ["9", "8", "7", "1", "6", "5", "4", "3"]
    run = fragile(
        tricks={"c": {"use": "Collapses", "iteration": 5, "since": 3}},
        output={"keep_best": "error", "patience": 9},
        extractor={"use": "Plain"},
        evaluation={"count": 4, "every": 1, "budget": 1.0},
        metrics={"Scripted": {"values": values}},
    )
    best = {"metric": "error", "value": 1.0, "iteration": 4}
    assert run.reporter.outcome.best == best
    assert read_run(run.path).best == best
    # Iteration 4 of the second attempt has the same value, which is no improvement.
    assert run.run.best.misses == 6
    assert state_of(run, 8)["best"]["evaluated"] == 7


@pytest.mark.parametrize("tricks", [NAN, COLLAPSE])
@pytest.mark.parametrize(("function", "call"), [("save", 1), ("save", 4), ("train_iteration", 6), ("log_rollbacks", 2)])
def test_a_killed_and_resumed_run_has_the_same_bytes(
    fragile, resume_toy, monkeypatch, tmp_path, tricks, function, call
):
    whole = fragile("whole", tricks=tricks)
    real, calls = getattr(loop, function), []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, function, killed)
        try:
            fragile(tricks=tricks)
        except KeyboardInterrupt:
            resume_toy()
    run = tmp_path / "run"
    for file in (
        "generator.safetensors",
        "rollbacks.json",
        *(f"checkpoints/{c}/state.json" for c in whole.checkpoints),
    ):
        assert (run / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert log_of(run) == log_of(whole.path)


def test_a_rollback_that_was_killed_before_it_deleted_checkpoints_is_completed(fragile):
    directory = RunDir(fragile().path)
    checkpoints = [int(checkpoint.name) for checkpoint in directory.saved_checkpoints()]
    rollback.complete_rollback(directory)
    assert [int(checkpoint.name) for checkpoint in directory.saved_checkpoints()] == checkpoints
    (record,) = directory.read_rollbacks()
    directory.rollbacks_file.write_text(json.dumps([record, record | {"from": 8, "to": 2}]))
    rollback.complete_rollback(directory)
    assert [int(checkpoint.name) for checkpoint in directory.saved_checkpoints()] == [c for c in checkpoints if c <= 2]


def test_a_kill_in_the_operations_on_the_disk(tmp_path):
    recipe = write_toy_recipe(
        tmp_path / "toy.toml",
        **merge(
            EVERYTHING,
            {
                "train": {"iterations": 3, "rollbacks": 1},
                "output": {"keep_best": "error", "keep_checkpoints": 2},
                "extractor": {"use": "Plain"},
                "evaluation": {"count": 4, "every": 1, "budget": 1.0},
                "metrics": {"m": {"use": "Scripted", "values": ["4", "2", "3"]}},
                "tricks": {"fragile": {"use": "Fragile", "iteration": 3, "limit": 0.002}},
            },
        ),
    )
    with running_killer(recipe, tmp_path / "whole") as killer:
        operations = killer("start", tmp_path / "counted")["operations"]
        assert RunDir(tmp_path / "whole").read_rollbacks() == RunDir(tmp_path / "counted").read_rollbacks() != []
        # The operations after the start of the run directory; one kill in seven shows every kind of operation.
        for moment in range(12, operations + 1, 7):
            run = tmp_path / str(moment)
            assert killer("start", run, kill=moment)["code"] == KILLED
            result = killer("resume", run)
            assert result["code"] == 0, (moment, result)
            assert_same_end(run, tmp_path / "whole")


def test_a_restart_begins_without_rollbacks(fragile, resume_toy):
    fragile()
    run = resume_toy(restart=True)
    assert (run.path / "before-1" / "rollbacks.json").exists()
    assert rollbacks_in(run) == [{"number": 1, "from": 5, "to": 4}]


def test_the_records_of_rollbacks_are_json(fragile):
    records = json.loads((fragile().path / "rollbacks.json").read_text())
    assert [record.keys() for record in records] == [{"from", "to", "reason", "best"}]
    assert not re.search("Remedies", records[0]["reason"])
