"""`gankit search`: searches of the toy recipe, complete, killed, resumed and refused.

Tests that are not about processes train the trials in this process.
"""

import json
import os
import signal
import sys

import pytest

from gankit.ablation import scheduler
from gankit.cli import study_executor
from gankit.images.io import read_image
from tests.gankit.cli.test_ablate import ThisProcess, wait_until

TUNED = '''
import math
import os
import time
from typing import ClassVar

from gankit import Plugin, hookimpl

class Tuned(Plugin):
    """Metric that is best for a learning rate of 0.01, and grows with the iteration for others.

    In iteration 5, it waits while a file `closed` exists.
    """

    name = "tuned"
    better: ClassVar = {"error": "lower"}

    @hookimpl
    def on_start(self, run):
        self.run = run
    @hookimpl
    def after_iteration(self, run):
        while run.iteration == 5 and os.path.exists("closed"):
            time.sleep(0.02)
    @hookimpl
    def compute_metrics(self):
        lr = self.run.recipe.components["optimizer.generator"].config.lr
        return {"error": 1 + abs(math.log10(lr) + 2) * self.run.iteration}
'''

SETTINGS = (
    *("train.iterations=9", "evaluation.every=3", "evaluation.count=8", "output.checkpoint_every=4"),
    *("output.sample_every=9", "output.keep_best=error", "tricks.tuned.use=./tuned.py:Tuned"),
)
COMMAND = ("search", "toy.toml", "--vary", "optimizer.generator.lr=1e-4..1", *SETTINGS, "--jobs", "1")
SEED = "3"  # with this seed, the last of six trials is worse than the median of the others


@pytest.fixture
def tuned(toy):
    """Folder of the toy recipe, with the metric `error`."""
    pytest.importorskip("optuna")
    (toy / "tuned.py").write_text(TUNED)
    return toy


@pytest.fixture
def this_process(monkeypatch):
    """Train the trials in this process."""

    def executor(recipe, jobs, address, threads):
        executor = ThisProcess(threads)
        executor.jobs = 1
        return executor

    monkeypatch.setattr(study_executor, "study_executor", executor)
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)


def trials(path):
    """Return the trials in table.json by number, without their reasons."""
    rows = json.loads((path / "table.json").read_text())["trials"]
    return {row["number"]: (row["values"], row["metric"], row["iterations"], row["state"]) for row in rows}


def test_a_search_that_was_killed_goes_on_to_the_best_recipe(gankit, start_process, tuned, this_process):
    command = (*COMMAND, "--seed", SEED, "--out", "s")
    (tuned / "closed").touch()
    process = start_process(*command, "--trials", "1", start_new_session=True)
    log = tuned / "s" / "trial-0" / "seed-0" / "log.jsonl"
    wait_until(lambda: log.exists() and '"metrics"' in log.read_text(), 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Its trial has a session of its own, and writes a checkpoint, because its stdin is closed.
    (tuned / "closed").unlink()
    answer = gankit(*command, "--trials", "6")
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if not line.startswith("warning: ")]
    assert lines[:2] == [
        "optimizer.generator.lr: 0.0001 to 1, logarithmic",
        "6 trials by error (lower is better), into s",
    ]
    assert any(line.startswith("trial 0: resumes") for line in lines)
    assert "trial 1: starts" in lines
    assert any(line.startswith("trial 1: done after") for line in lines)
    assert lines[-3:] == ["next:", "  gankit run s/best.toml", "  gankit search s --trials 12"]
    rows = trials(tuned / "s")
    assert len(rows) == 6
    # The first five trials are complete, because the median needs complete trials.
    assert [rows[number][2:] for number in range(5)] == [(9, "complete")] * 5
    assert rows[5][2:] == (3, "pruned")
    assert "ended at iteration 3: pruned, because error" in answer.out
    best = min((row for row in rows.values() if row[3] == "complete"), key=lambda row: row[1])
    table = (tuned / "s" / "table.md").read_text().splitlines()
    assert table[2] == "| trial | optimizer.generator.lr | error | iterations | state |"
    assert f"| {best[1]:.4g} | 9 | complete |" in table[4]
    assert read_image(tuned / "s" / "search.png").size == (920, 580)

    # The recipe of the best trial is complete.
    assert gankit("validate", "s/best.toml").code == 0
    text = (tuned / "s" / "best.toml").read_text()
    assert f"lr = {best[0]['optimizer.generator.lr']}" in text
    assert "budget = 0.05" in text

    # The folder continues the search. Another search is refused.
    assert gankit("search", "s").out.count("starts") == 0
    assert trials(tuned / "s") == rows
    narrower = ("--vary", "optimizer.generator.lr=1e-3..1", *SETTINGS, "--seed", SEED)
    other = gankit("search", "toy.toml", *narrower, "--out", "s")
    assert (other.code, other.out) == (2, "")
    assert "--vary optimizer.generator.lr: 0.0001 to 1, logarithmic in the search in s, and 0.001 to 1" in other.err
    assert "the only options with its folder are --trials" in gankit("search", "s", "--seed", "3").err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["toy.toml"], "--vary: missing; give a setting and its values"),
        (
            ["toy.toml", "--vary", "optimizer.generator.rate=1..2"],
            "optimizer.generator.rate: unknown key",
        ),
        (["toy.toml", "--vary", "train.batch_size=8,16"], "--metric: missing; give the metric by which trials are "),
        (["toy.toml", "--vary", "train.batch_size=8,16", "--metric", "x"], "--metric x: needs a metric of the recipe"),
        (
            ["toy.toml", "--vary", "train.batch_size=8,20", *SETTINGS, "tricks.picky.use=./toy.py:Picky"],
            "--vary train.batch_size=20: tricks.picky: not more than 16 [images], please",
        ),
        (["toy.toml", "--vary", "train.batch_size=8,16", *SETTINGS, "--out", "."], "the folder is not empty and holds"),
        (["toy.toml", "--vary", "train.batch_size=8,16", "--trials", "0"], "--trials"),
    ],
)
def test_refusals(gankit, tuned, arguments, expected):
    answer = gankit("search", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert {path.name for path in tuned.iterdir()} <= {"bug.py", "toy.py", "toy.toml", "tuned.py", "__pycache__"}


def test_without_optuna_one_sentence_names_the_extra(gankit, toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = gankit("search", "toy.toml", "--vary", "train.batch_size=8,16")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: gankit search: Optuna is not installed; run `pip install 'gankit[search]'`\n"
