"""`gankit ablate`: studies of the toy recipe, played, killed, broken, gone on with.

A process takes seconds to begin. Where processes are not what is tested, runs are played in this one.
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

# A measure that knows the seed and whether the trick is there, so that the effect is known: 2, more or less.
MORE = '''
import os

class Scored(Plugin):
    """Measures what is decided beforehand."""

    name = "scored"

    @hookimpl
    def evaluate(self, run):
        with_it = any(p.endswith("boost") for p in run.plugins)
        return {"score": 10.0 + run.recipe.seed**2 + with_it * (2 + 0.1 * (run.recipe.seed % 3)), "weight": float(
            sum(p.double().sum() for p in run.generator.parameters()))}


class Boost(Plugin):
    """Changes the score."""

    name = "boost"

    @hookimpl
    def after_g_step(self):
        pass


class Gate(Plugin):
    """Waits in the fifth iteration while a file `closed` is there, and after it takes its time while `slow` is."""

    name = "gate"

    @hookimpl
    def after_iteration(self, run):
        while run.iteration == 5 and os.path.exists("closed"):
            time.sleep(0.02)
        if run.iteration > 5 and os.path.exists("slow"):
            time.sleep(0.3)


class BreaksOne(Plugin):
    """Breaks the run of seed 1."""

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


class Here:
    """Plays each run in this process, once it has been seen to begin.

    Args:
        threads: that a study has on record.
    """

    def __init__(self, threads):
        self.threads, self.waiting, self.seen = threads or 3, [], False

    def has_room(self):
        return not self.waiting

    def start(self, run):
        self.waiting, self.seen = [run], False

    def running(self):
        self.seen = True
        return self.waiting

    def ended(self):
        over, self.waiting = (self.waiting, []) if self.seen else ([], self.waiting)
        return [(run, self.played(run)) for run in over]

    def trained(self, run):
        run.output_file.parent.mkdir(parents=True, exist_ok=True)
        with open(run.output_file, "w") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
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
def played_here():
    """Runs are played in this process; gives the threads on record that it is told."""
    told = []

    def place(recipe, jobs, address, threads):
        told.append(threads)
        return Here(threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "_place", place)
        patch.setattr(scheduler, "POLL_SECONDS", 0.0)
        yield told


@pytest.fixture
def here():
    with played_here() as told:
        yield told


def effects(path):
    """The rows of a study's table."""
    return json.loads((path / "table.json").read_text())["rows"]


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def logged(path):
    return path.exists() and '"loss"' in path.read_text()


def test_a_study_from_its_command_to_its_table(gankit, study, here):
    asked = ("ablate", "toy.toml", "--add", BOOST, SCORED, "--seeds", "2", "--out", "s")
    answer = gankit(*asked)
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if not line.startswith("advice: ")]
    assert lines[:2] == ["toy: recipe, with boost.use=./toy.py:Boost", "2 seeds, 4 runs, into s"]
    assert sum(line.endswith(": begins") for line in lines) == 4
    assert sum(bool(re.search(r": done after \d+ s; \d of 4 over", line)) for line in lines) == 4
    assert lines[-1] == "  gankit ablate s --seeds 4"
    rows = effects(study / "s")
    assert [row["metric"] for row in rows] == ["score", "weight"]
    # Differences of 2.0 and 2.1: mean 2.05, and 12.706 times 0.05 to both sides.
    assert rows[0]["effect"]["mean"] == pytest.approx(2.05)
    assert rows[0]["effect"]["low"] == pytest.approx(2.05 - 12.7062 * 0.05, abs=1e-4)
    assert rows[0]["verdict"] == "higher"
    assert (rows[1]["effect"]["mean"], rows[1]["verdict"]) == (0.0, "no effect seen")
    table = (study / "s" / "table.md").read_text()
    assert "| boost.use=./toy.py:Boost | score | 10.500 | +2.050 | +1.415 to +2.685 | higher |" in table
    for seed in (0, 1):
        assert f"seed = {seed}\n" in (study / "s" / "recipe" / f"seed-{seed}" / "recipe.toml").read_text()

    # The same command again only looks; another one is refused.
    before = {run: (study / "s" / run).stat().st_mtime_ns for run in ("recipe/seed-0/log.jsonl", "recipe/seed-1.log")}
    again = gankit(*asked)
    assert again.code == 0
    assert "begins" not in again.out
    assert before == {run: (study / "s" / run).stat().st_mtime_ns for run in before}
    assert here == [None, 3]
    other = gankit(*asked, "train.iterations=13")
    assert (other.code, other.out) == (2, "")
    assert "train.iterations of recipe was 12 when the study began and is 13 now" in other.err
    assert gankit("ablate", "s", "train.iterations=13").code == 2


def test_killed_in_the_middle_it_goes_on_to_the_same_end(gankit, start_process, study):
    asked = ("ablate", "toy.toml", "--add", BOOST, SCORED, GATE, "--seeds", "1")
    with played_here():
        assert gankit(*asked, "--out", "whole").code == 0
    (study / "closed").touch()
    process = start_process(*asked, "--out", "s", "--jobs", "2")
    runs = [study / "s" / variant / "seed-0" for variant in ("recipe", "with-boost.use=._toy.py_Boost")]
    wait_until(lambda: all(logged(run / "log.jsonl") for run in runs))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (study / "closed").rename(study / "slow")
    # The runs notice that they are alone, and are waited for.
    wait_until(lambda: all((run / "checkpoints").exists() for run in runs))
    (study / "slow").unlink()
    answer = gankit("ablate", "s", "--jobs", "2")
    assert answer.code == 0, answer.err
    assert len(re.findall(r", seed 0: goes on, from iteration \d+\n", answer.out)) == 2
    assert effects(study / "s") == effects(study / "whole")
    for run in runs:
        assert "resumed" in json.loads((run / "environment.json").read_text())
        assert "resuming from" in run.with_name("seed-0.log").read_text()
        lines = (run / "log.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines))
        whole = load_file(study / "whole" / run.parent.name / run.name / "generator.safetensors")
        broken = load_file(run / "generator.safetensors")
        assert broken.keys() == whole.keys()
        assert all(torch.equal(broken[name], whole[name]) for name in whole)


def test_ctrl_c_leaves_checkpoints_and_the_way_to_go_on(start_process, study):
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
    assert err == "stopping: each run finishes its iteration and writes a checkpoint; again stops at once\n"
    assert out.endswith("interrupted; each run has written a checkpoint\nnext:\n  gankit ablate s\n")
    assert "Not finished: 0 of 2 runs are over." in out
    (written,) = (study / "s" / "recipe" / "seed-0" / "checkpoints").iterdir()
    assert 5 <= int(written.name) < 12
    assert not (study / "s" / "recipe" / "seed-0" / "outcome.json").exists()


def test_a_run_that_breaks_down_is_counted_and_the_others_go_on(gankit, study, here):
    answer = gankit(
        *("ablate", "toy.toml", "--add", "breaks_one.use=./toy.py:BreaksOne", SCORED, "--seeds", "0,1", "--out", "s"),
    )
    assert answer.code == 0, answer.err
    assert re.search(r"BreaksOne, seed 1: broke down, iteration 4: the discriminator's .*\bis nan", answer.out)
    assert "with breaks_one.use=./toy.py:BreaksOne: 1 of 2 broke down (seed 1); they are not compared." in answer.out
    assert [row["effect"]["pairs"] for row in effects(study / "s")] == [1, 1]
    assert "| no interval, of those that held: 1 of 2 seeds |" in (study / "s" / "table.md").read_text()


def test_a_bug_in_one_trick_leaves_a_table_of_the_others_and_may_be_mended(gankit, study, here):
    answer = gankit(
        *("ablate", "toy.toml", "--add", "bug.use=./bug.py:Bug", "--add", BOOST, SCORED),
        *("--seeds", "2", "--out", "s"),
    )
    assert answer.code == 1
    first, second = answer.err.splitlines()
    assert first.startswith(
        "error: with bug.use=./bug.py:Bug, seed 0: ZeroDivisionError: a bug in a plugin (s/with-bug.use=._bug.py_Bug/"
    )
    assert first.endswith("when it is mended, `gankit ablate s` plays it again")
    assert second.startswith("error: with bug.use=./bug.py:Bug, seed 1: ")
    assert "bug.use=./bug.py:Bug, seed 0: failed, ZeroDivisionError: a bug" in answer.out
    assert "Not finished: 4 of 6 runs are over." in answer.out
    assert [(row["trick"], row["effect"]["pairs"]) for row in effects(study / "s")] == [(BOOST, 2), (BOOST, 2)]

    (study / "bug.py").write_text(BUG.replace("raise", "return"))
    mended = gankit("ablate", "s")
    assert (mended.code, mended.err) == (0, "")
    assert "6 of 6 over" in mended.out
    assert {row["trick"] for row in effects(study / "s")} == {"bug.use=./bug.py:Bug", BOOST}
    # With runs of it that are over, it is to stay as it is.
    (study / "bug.py").write_text(BUG)
    assert "runs before and after cannot be compared" in gankit("ablate", "s").err


def test_what_fails_with_a_trick_and_without_it_ends_the_study(gankit, study, here):
    answer = gankit("ablate", "toy.toml", "--add", BOOST, "tricks.bug.use=./bug.py:Bug", "--seeds", "3", "--out", "s")
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 2
    assert "given up: with a trick and without it runs failed alike" in answer.out


def test_what_measures_stays_and_is_said_to(gankit, study, here):
    answer = gankit("ablate", "toy.toml", SCORED, f"tricks.{BOOST}", "--seeds", "1", "--out", "s")
    assert answer.code == 0, answer.err
    assert "not left out, since they only watch or measure: scored\ntoy: recipe, without boost\n" in answer.out
    assert effects(study / "s")[0]["effect"]["mean"] == pytest.approx(2.0)


def test_which_runs_have_no_checkpoint_is_said(tmp_path):
    runs = [StudyRun(Variant("with-r1", "r1", True, None), seed, tmp_path) for seed in range(3)]
    (runs[0].path / "checkpoints" / "000004").mkdir(parents=True)
    # The others still waited for a machine of the cluster.
    assert _checkpoints(runs) == "each run has written a checkpoint"
    runs[1].path.mkdir()
    assert _checkpoints(runs) == "each run has a checkpoint, but for those that had hardly begun: with r1, seed 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy.toml"], "toy.toml: the recipe has no tricks to leave out; --add TRICK"),
        (["toy.toml", "--add", "r1", "--only", "r1"], "--only: it names tricks to leave out"),
        (["toy.toml", "seed=3", "--add", "r1"], "seed: each variant is played with several; --seeds"),
        (["toy.toml", "--add", "nothing_like_it"], "--add nothing_like_it: tricks.nothing_like_it.use: "),
        (["toy.toml", "--add", BOOST, "--add", BOOST], f"--add {BOOST}: named twice"),
        (["toy.toml", "--add", "picky.use=./toy.py:Picky", "train.batch_size=20"], "not more than 16 [images], please"),
        (["toy.toml", "--add", BOOST, "--out", "."], "--out .: the folder is not empty and holds no study"),
        (["toy.toml", "--add", BOOST, "--seeds", "1,1"], "1,1 names a seed twice"),
        (["toy.toml", "--add", BOOST, "--seeds", "0"], "--seeds"),
        (["toy.toml", "--add", BOOST, "--jobs", "2", "--ray", "local"], "--jobs: the cluster of --ray decides"),
        (["nowhere.toml"], "there is no recipe nowhere.toml"),
    ],
)
def test_refusals(gankit, study, arguments, said):
    answer = gankit("ablate", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert sorted(p.name for p in study.iterdir() if p.name != "__pycache__") == ["bug.py", "toy.py", "toy.toml"]
