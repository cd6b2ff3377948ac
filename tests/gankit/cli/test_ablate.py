"""`gankit ablate`: studies of the toy recipe, complete, killed, failed and resumed.

A process takes seconds to start. Tests that are not about processes train the runs in this process.
"""

import contextlib
import json
import os
import re
import signal
import threading
import time
import traceback

import pytest

from gankit.ablation import scheduler
from gankit.ablation.study import StudyRun
from gankit.ablation.variants import Variant
from gankit.ablation.worker import run_worker
from gankit.cli import study_executor
from gankit.cli.ablate import _checkpoints
from gankit.cli.study_progress import STOPPING
from tests.gankit.cli.conftest import BUG

SCORED = "tricks.scored.use=./toy.py:Scored"
BOOST = "boost.use=./toy.py:Average"
GATE = "tricks.gate.use=./toy.py:Gate"


class ThisProcess:
    """Executor that trains each run in this process, after the scheduler has seen it as running."""

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

    def stop(self, run): ...

    def kill(self): ...


@pytest.fixture
def this_process(monkeypatch):
    """Train runs in this process. Return the list of the numbers of threads on record, one for each study."""
    recorded = []

    def executor(recipe, jobs, address, threads):
        recorded.append(threads)
        return ThisProcess(threads)

    monkeypatch.setattr(study_executor, "study_executor", executor)
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)
    return recorded


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


def test_a_study_from_the_command_to_the_table(gankit, toy, this_process):
    command = ("ablate", "toy.toml", "--add", BOOST, SCORED, "--seeds", "2", "--out", "s")
    answer = gankit(*command)
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if not line.startswith("warning: ")]
    assert lines[:2] == ["toy: recipe, with boost.use=./toy.py:Average", "2 seeds, 4 runs, into s"]
    assert sum(line.endswith(": starts") for line in lines) == 4
    assert sum(bool(re.search(r": done after \d+ s; \d of 4 done", line)) for line in lines) == 4
    assert lines[-1] == "  gankit ablate s --seeds 4"
    rows = effects(toy / "s")
    assert [row["metric"] for row in rows] == ["score", "weight"]
    # Differences 2.0 and 2.1: mean 2.05, interval 12.706 * 0.05 to both sides.
    assert rows[0]["effect"]["mean"] == pytest.approx(2.05)
    assert rows[0]["effect"]["low"] == pytest.approx(2.05 - 12.7062 * 0.05, abs=1e-4)
    assert rows[0]["verdict"] == "higher"
    assert (rows[1]["effect"]["mean"], rows[1]["verdict"]) == (0.0, "no effect seen")
    table = (toy / "s" / "table.md").read_text()
    assert "| boost.use=./toy.py:Average | score | 10.500 | +2.050 | +1.415 to +2.685 | higher |" in table
    for seed in (0, 1):
        assert f"seed = {seed}\n" in (toy / "s" / "recipe" / f"seed-{seed}" / "recipe.toml").read_text()

    # The same command again trains nothing. Another one is refused.
    before = {run: (toy / "s" / run).stat().st_mtime_ns for run in ("recipe/seed-0/log.jsonl", "recipe/seed-1.log")}
    again = gankit(*command)
    assert again.code == 0
    assert "starts" not in again.out
    assert before == {run: (toy / "s" / run).stat().st_mtime_ns for run in before}
    assert this_process == [None, 3]
    other = gankit(*command, "train.iterations=13")
    assert (other.code, other.out) == (2, "")
    assert "train.iterations of recipe is 12 in the study and 13 in the request" in other.err
    assert gankit("ablate", "s", "train.iterations=13").code == 2


def test_a_killed_study_resumes_with_the_same_result(gankit, start_process, this_process, toy):
    command = ("ablate", "toy.toml", "--add", BOOST, SCORED, GATE, "--seeds", "1")
    assert gankit(*command, "--out", "whole").code == 0
    (toy / "closed").touch()
    process = start_process(*command, "--out", "s", "--jobs", "1", start_new_session=True)
    run = toy / "s" / "recipe" / "seed-0"
    wait_until(lambda: logged(run / "log.jsonl"))
    # The run has a session of its own, so it is not killed.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (toy / "closed").rename(toy / "slow")
    # Its stdin is closed, so it writes a checkpoint.
    wait_until((run / "checkpoints").exists)
    (toy / "slow").unlink()
    answer = gankit("ablate", "s")
    assert answer.code == 0, answer.err
    assert re.search(r", seed 0: resumes from iteration \d+\n", answer.out)
    assert effects(toy / "s") == effects(toy / "whole")
    assert "resuming from" in run.with_name("seed-0.log").read_text()
    lines = (run / "log.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines))


def test_ctrl_c_writes_checkpoints_and_prints_the_command_to_resume(gankit, toy):
    (toy / "closed").touch()
    run = toy / "s" / "recipe" / "seed-0"

    def interrupt():
        try:
            wait_until(lambda: logged(run / "log.jsonl"))
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            (toy / "closed").rename(toy / "slow")

    thread = threading.Thread(target=interrupt)
    thread.start()
    command = ("ablate", "toy.toml", "--add", BOOST, SCORED, GATE, "--seeds", "1", "--out", "s", "--jobs", "1")
    answer = gankit(*command, "output.checkpoint_every=100")
    thread.join()
    assert (answer.code, answer.err) == (130, f"{STOPPING}\n")
    assert answer.out.endswith("interrupted; each run has written a checkpoint\nnext:\n  gankit ablate s\n")
    assert "Not finished: 0 of 2 runs are done." in answer.out
    (written,) = (run / "checkpoints").iterdir()
    assert 5 <= int(written.name) < 12
    assert not (run / "outcome.json").exists()


def test_a_run_that_breaks_down_is_counted_and_the_others_are_compared(gankit, toy, this_process):
    breaks_one = "breaks_one.use=./toy.py:BreaksOne"
    answer = gankit("ablate", "toy.toml", "--add", breaks_one, SCORED, "--seeds", "0,1", "--out", "s")
    assert answer.code == 0, answer.err
    assert re.search(r"BreaksOne, seed 1: failed, iteration 4: the discriminator's .*\bis nan", answer.out)
    assert "with breaks_one.use=./toy.py:BreaksOne: 1 of 2 failed (seed 1); they are not compared." in answer.out
    assert [row["effect"]["pairs"] for row in effects(toy / "s")] == [1, 1]
    assert "| no interval, in 1 of 2 seeds; others failed |" in (toy / "s" / "table.md").read_text()


def test_a_bug_in_one_trick_leaves_a_table_of_the_others_and_can_be_fixed(gankit, toy, this_process):
    bug = "bug.use=./bug.py:Bug"
    answer = gankit("ablate", "toy.toml", "--add", bug, "--add", BOOST, SCORED, "--seeds", "1", "--out", "s")
    assert answer.code == 1
    expected = f"error: with {bug}, seed 0: ZeroDivisionError: a bug in a plugin (full output: s/with-bug"
    assert answer.err.startswith(expected)
    assert answer.err.endswith("after a fix, `gankit ablate s` trains it again\n")
    assert f"{bug}, seed 0: failed, ZeroDivisionError: a bug" in answer.out
    assert "Not finished: 2 of 3 runs are done." in answer.out
    assert [row["trick"] for row in effects(toy / "s")] == [BOOST, BOOST]

    (toy / "bug.py").write_text(BUG.replace("raise", "return"))
    fixed = gankit("ablate", "s")
    assert (fixed.code, fixed.err) == (0, "")
    assert "3 of 3 done" in fixed.out
    assert {row["trick"] for row in effects(toy / "s")} == {bug, BOOST}
    # After runs with the plugin are done, it must not change.
    (toy / "bug.py").write_text(BUG)
    assert "runs before and after cannot be compared" in gankit("ablate", "s").err


def test_equal_failures_with_and_without_a_trick_end_the_study(gankit, toy, this_process):
    answer = gankit("ablate", "toy.toml", "--add", BOOST, "tricks.bug.use=./bug.py:Bug", "--seeds", "3", "--out", "s")
    assert answer.code == 1
    assert "stopped: runs with and without a trick failed with the same error" in answer.out


def test_read_only_tricks_are_not_left_out(gankit, toy, this_process):
    answer = gankit("ablate", "toy.toml", SCORED, f"tricks.{BOOST}", "--seeds", "1", "--out", "s")
    assert answer.code == 0, answer.err
    assert "not left out, because they do not change the training: scored\ntoy: recipe, without boost\n" in answer.out
    assert effects(toy / "s")[0]["effect"]["mean"] == pytest.approx(2.0)


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
        (["toy.toml", "--add", "picky.use=./toy.py:Picky", "train.batch_size=20"], "not more than 16 [images], please"),
        (["toy.toml", "--add", BOOST, "--out", "."], "--out .: the folder is not empty and holds no study"),
        (["toy.toml", "--add", BOOST, "--seeds", "1,1"], "1,1: a seed is given twice"),
        (["toy.toml", "--add", BOOST, "--seeds", "0"], "--seeds"),
        (["toy.toml", "--add", BOOST, "--jobs", "2", "--ray", "local"], "--jobs: the cluster of --ray decides"),
    ],
)
def test_refusals(gankit, toy, arguments, expected):
    answer = gankit("ablate", *arguments)
    assert answer.code == 2
    assert expected in answer.err
    assert sorted(p.name for p in toy.iterdir() if p.name != "__pycache__") == ["bug.py", "toy.py", "toy.toml"]
