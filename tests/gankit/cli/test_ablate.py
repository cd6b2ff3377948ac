"""`gankit ablate`: studies of the toy recipe, complete, killed, failed and resumed.

A process takes seconds to start. Tests that are not about processes train the runs in this process.
"""

import contextlib
import json
import os
import re
import signal
import time
import traceback

import pytest
import torch
from safetensors.torch import load_file

from gankit.ablation import scheduler
from gankit.ablation.study import StudyRun
from gankit.ablation.variants import Variant
from gankit.ablation.worker import run_worker
from gankit.cli import ablate
from gankit.cli.ablate import _checkpoints
from gankit.cli.study_progress import STOPPING

# The score depends on the seed and on whether the trick is used, so that its effect is known: about 2.
MORE = '''
import os

class Scored(Plugin):
    """Metrics with known values."""

    name, read_only = "scored", True

    @hookimpl
    def on_start(self, run):
        self.run = run

    @hookimpl
    def compute_metrics(self):
        seed, boosted = self.run.recipe.seed, any(p.endswith("boost") for p in self.run.plugins)
        weights = sum(p.detach().double().sum() for p in self.run.generator.parameters())
        return {"score": 10.0 + seed**2 + boosted * (2 + 0.1 * (seed % 3)), "weight": float(weights)}


class Boost(Plugin):
    """Changes the score."""

    name = "boost"

    @hookimpl
    def after_g_step(self):
        pass


class Gate(Plugin):
    """Waits in iteration 5 while a file `closed` exists, and in each later one while a file `slow` exists."""

    name = "gate"

    @hookimpl
    def after_iteration(self, run):
        while run.iteration == 5 and os.path.exists("closed"):
            time.sleep(0.02)
        if run.iteration > 5 and os.path.exists("slow"):
            time.sleep(0.3)


class BreaksOne(Plugin):
    """Makes a loss NaN for seed 1."""

    name = "breaks_one"

    @hookimpl
    def loss_terms(self, player, run):
        yield LossTerm("poison", lambda step: step.fake.mean() * (float("nan") if run.recipe.seed == 1 else 0.0))
'''

SCORED = "tricks.scored.use=./toy.py:Scored"
BOOST = "boost.use=./toy.py:Boost"
GATE = "tricks.gate.use=./toy.py:Gate"

BUG = """
from gankit import Plugin, hookimpl


class Bug(Plugin):
    name = "bug"

    @hookimpl
    def on_start(self):
        raise ZeroDivisionError("a bug in a plugin")
"""


@pytest.fixture
def study(toy):
    with open(toy / "toy.py", "a") as file:
        file.write(MORE)
    (toy / "bug.py").write_text(BUG)
    return toy


class ThisProcess:
    """Executor that trains each run in this process, after the scheduler has seen it as running.

    Args:
        threads: number of threads on record in the study.
    """

    def __init__(self, threads):
        self.threads, self.started, self.seen = threads or 3, [], False

    def has_room(self):
        return not self.started

    def start(self, run):
        self.started, self.seen = [run], False

    def running(self):
        self.seen = True
        return self.started

    def ended(self):
        ready, self.started = (self.started, []) if self.seen else ([], self.started)
        return [(run, self.train(run)) for run in ready]

    def train(self, run):
        run.output_file.parent.mkdir(parents=True, exist_ok=True)
        with open(run.output_file, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                return run_worker(run.recipe_file, run.seed, run.path)
            except Exception:
                traceback.print_exc()
                return 1

    def stop(self):
        pass

    def kill(self):
        pass


@contextlib.contextmanager
def train_in_this_process():
    """Train runs in this process. Yields the list of the numbers of threads on record, one for each study."""
    recorded = []

    def executor(recipe, jobs, address, threads):
        recorded.append(threads)
        return ThisProcess(threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "_executor", executor)
        patch.setattr(scheduler, "POLL_SECONDS", 0.0)
        yield recorded


@pytest.fixture
def this_process():
    with train_in_this_process() as recorded:
        yield recorded


def effects(path):
    """Return the rows of the table of a study."""
    return json.loads((path / "table.json").read_text())["rows"]


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def logged(path):
    return path.exists() and '"loss"' in path.read_text()


def test_a_study_from_the_command_to_the_table(gankit, study, this_process):
    command = ("ablate", "toy.toml", "--add", BOOST, SCORED, "--seeds", "2", "--out", "s")
    answer = gankit(*command)
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if not line.startswith("warning: ")]
    assert lines[:2] == ["toy: recipe, with boost.use=./toy.py:Boost", "2 seeds, 4 runs, into s"]
    assert sum(line.endswith(": starts") for line in lines) == 4
    assert sum(bool(re.search(r": done after \d+ s; \d of 4 done", line)) for line in lines) == 4
    assert lines[-1] == "  gankit ablate s --seeds 4"
    rows = effects(study / "s")
    assert [row["metric"] for row in rows] == ["score", "weight"]
    # Differences 2.0 and 2.1: mean 2.05, interval 12.706 * 0.05 to both sides.
    assert rows[0]["effect"]["mean"] == pytest.approx(2.05)
    assert rows[0]["effect"]["low"] == pytest.approx(2.05 - 12.7062 * 0.05, abs=1e-4)
    assert rows[0]["verdict"] == "higher"
    assert (rows[1]["effect"]["mean"], rows[1]["verdict"]) == (0.0, "no effect seen")
    table = (study / "s" / "table.md").read_text()
    assert "| boost.use=./toy.py:Boost | score | 10.500 | +2.050 | +1.415 to +2.685 | higher |" in table
    for seed in (0, 1):
        assert f"seed = {seed}\n" in (study / "s" / "recipe" / f"seed-{seed}" / "recipe.toml").read_text()

    # The same command again trains nothing. Another one is refused.
    before = {run: (study / "s" / run).stat().st_mtime_ns for run in ("recipe/seed-0/log.jsonl", "recipe/seed-1.log")}
    again = gankit(*command)
    assert again.code == 0
    assert "starts" not in again.out
    assert before == {run: (study / "s" / run).stat().st_mtime_ns for run in before}
    assert this_process == [None, 3]
    other = gankit(*command, "train.iterations=13")
    assert (other.code, other.out) == (2, "")
    assert "train.iterations of recipe is 12 in the study and 13 in the request" in other.err
    assert gankit("ablate", "s", "train.iterations=13").code == 2


def test_a_killed_study_resumes_with_the_same_result(gankit, start_process, study):
    command = ("ablate", "toy.toml", "--add", BOOST, SCORED, GATE, "--seeds", "1")
    with train_in_this_process():
        assert gankit(*command, "--out", "whole").code == 0
    (study / "closed").touch()
    process = start_process(*command, "--out", "s", "--jobs", "2")
    runs = [study / "s" / variant / "seed-0" for variant in ("recipe", "with-boost.use=._toy.py_Boost")]
    wait_until(lambda: all(logged(run / "log.jsonl") for run in runs))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (study / "closed").rename(study / "slow")
    # The runs notice that the study is gone, and write a checkpoint.
    wait_until(lambda: all((run / "checkpoints").exists() for run in runs))
    (study / "slow").unlink()
    with train_in_this_process():
        answer = gankit("ablate", "s")
    assert answer.code == 0, answer.err
    assert len(re.findall(r", seed 0: resumes from iteration \d+\n", answer.out)) == 2
    assert effects(study / "s") == effects(study / "whole")
    for run in runs:
        assert "resumed" in json.loads((run / "environment.json").read_text())
        assert "resuming from" in run.with_name("seed-0.log").read_text()
        lines = (run / "log.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines))
        whole = load_file(study / "whole" / run.parent.name / run.name / "generator.safetensors")
        resumed = load_file(run / "generator.safetensors")
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_ctrl_c_writes_checkpoints_and_prints_the_command_to_resume(start_process, study):
    (study / "closed").touch()
    process = start_process(
        *("ablate", "toy.toml", "--add", BOOST, SCORED, GATE, "--seeds", "1", "--out", "s"),
        *("output.checkpoint_every=100", "--jobs", "1"),
        start_new_session=True,
    )
    wait_until(lambda: logged(study / "s" / "recipe" / "seed-0" / "log.jsonl"))
    os.killpg(process.pid, signal.SIGINT)
    (study / "closed").rename(study / "slow")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"{STOPPING}\n"
    assert out.endswith("interrupted; each run has written a checkpoint\nnext:\n  gankit ablate s\n")
    assert "Not finished: 0 of 2 runs are done." in out
    (written,) = (study / "s" / "recipe" / "seed-0" / "checkpoints").iterdir()
    assert 5 <= int(written.name) < 12
    assert not (study / "s" / "recipe" / "seed-0" / "outcome.json").exists()


def test_a_run_that_breaks_down_is_counted_and_the_others_are_compared(gankit, study, this_process):
    answer = gankit(
        *("ablate", "toy.toml", "--add", "breaks_one.use=./toy.py:BreaksOne", SCORED, "--seeds", "0,1", "--out", "s"),
    )
    assert answer.code == 0, answer.err
    assert re.search(r"BreaksOne, seed 1: broke down, iteration 4: the discriminator's .*\bis nan", answer.out)
    assert "with breaks_one.use=./toy.py:BreaksOne: 1 of 2 broke down (seed 1); they are not compared." in answer.out
    assert [row["effect"]["pairs"] for row in effects(study / "s")] == [1, 1]
    assert "| no interval, in 1 of 2 seeds; others broke down |" in (study / "s" / "table.md").read_text()


def test_a_bug_in_one_trick_leaves_a_table_of_the_others_and_can_be_fixed(gankit, study, this_process):
    answer = gankit(
        *("ablate", "toy.toml", "--add", "bug.use=./bug.py:Bug", "--add", BOOST, SCORED),
        *("--seeds", "2", "--out", "s"),
    )
    assert answer.code == 1
    first, second = answer.err.splitlines()
    assert first.startswith(
        "error: with bug.use=./bug.py:Bug, seed 0: ZeroDivisionError: a bug in a plugin (full output: s/with-bug"
    )
    assert first.endswith("after a fix, `gankit ablate s` trains it again")
    assert second.startswith("error: with bug.use=./bug.py:Bug, seed 1: ")
    assert "bug.use=./bug.py:Bug, seed 0: failed, ZeroDivisionError: a bug" in answer.out
    assert "Not finished: 4 of 6 runs are done." in answer.out
    assert [(row["trick"], row["effect"]["pairs"]) for row in effects(study / "s")] == [(BOOST, 2), (BOOST, 2)]

    (study / "bug.py").write_text(BUG.replace("raise", "return"))
    fixed = gankit("ablate", "s")
    assert (fixed.code, fixed.err) == (0, "")
    assert "6 of 6 done" in fixed.out
    assert {row["trick"] for row in effects(study / "s")} == {"bug.use=./bug.py:Bug", BOOST}
    # After runs with the plugin are done, it must not change.
    (study / "bug.py").write_text(BUG)
    assert "runs before and after cannot be compared" in gankit("ablate", "s").err


def test_equal_failures_with_and_without_a_trick_end_the_study(gankit, study, this_process):
    answer = gankit("ablate", "toy.toml", "--add", BOOST, "tricks.bug.use=./bug.py:Bug", "--seeds", "3", "--out", "s")
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 2
    assert "stopped: runs with and without a trick failed with the same error" in answer.out


def test_read_only_tricks_are_not_left_out(gankit, study, this_process):
    answer = gankit("ablate", "toy.toml", SCORED, f"tricks.{BOOST}", "--seeds", "1", "--out", "s")
    assert answer.code == 0, answer.err
    assert "not left out, because they do not change the training: scored\ntoy: recipe, without boost\n" in answer.out
    assert effects(study / "s")[0]["effect"]["mean"] == pytest.approx(2.0)


def test_runs_without_a_checkpoint_are_named(tmp_path):
    runs = [StudyRun(Variant("with-r1", "r1", True, None), seed, tmp_path) for seed in range(3)]
    (runs[0].path / "checkpoints" / "000004").mkdir(parents=True)
    # The other runs have not started yet.
    assert _checkpoints(runs) == "each run has written a checkpoint"
    runs[1].path.mkdir()
    assert _checkpoints(runs) == "each run has a checkpoint, except those that had just started: with r1, seed 1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["toy.toml"], "toy.toml: no tricks to leave out; --add TRICK"),
        (["toy.toml", "--add", "r1", "--only", "r1"], "--only: it leaves out tricks, and --add adds tricks"),
        (["toy.toml", "seed=3", "--add", "r1"], "seed: each variant is trained with several seeds; use --seeds"),
        (["toy.toml", "--add", "nothing_like_it"], "--add nothing_like_it: tricks.nothing_like_it.use: "),
        (["toy.toml", "--add", BOOST, "--add", BOOST], f"--add {BOOST}: given twice"),
        (["toy.toml", "--add", "picky.use=./toy.py:Picky", "train.batch_size=20"], "not more than 16 [images], please"),
        (["toy.toml", "--add", BOOST, "--out", "."], "--out .: the folder is not empty and holds no study"),
        (["toy.toml", "--add", BOOST, "--seeds", "1,1"], "1,1: a seed is given twice"),
        (["toy.toml", "--add", BOOST, "--seeds", "0"], "--seeds"),
        (["toy.toml", "--add", BOOST, "--jobs", "2", "--ray", "local"], "--jobs: the cluster of --ray decides"),
        (["nowhere.toml"], "there is no recipe nowhere.toml"),
    ],
)
def test_refusals(gankit, study, arguments, expected):
    answer = gankit("ablate", *arguments)
    assert answer.code == 2
    assert expected in answer.err
    assert sorted(p.name for p in study.iterdir() if p.name != "__pycache__") == ["bug.py", "toy.py", "toy.toml"]
