"""`gankit ablate`: studies of the toy recipe, played in processes, killed, broken, gone on with."""

import json
import os
import re
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

SLOW = "tricks.slow.use='./toy.py:Slow'"

# A measure that knows the seed and whether the trick is there, so that the effect is known: 2, more or less.
MORE = '''

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


class BreaksOne(Plugin):
    """Breaks the game of seed 1."""

    name = "breaks_one"

    @hookimpl
    def loss_terms(self, player, run):
        yield Term("poison", lambda step: step.fake.mean() * (float("nan") if run.recipe.seed == 1 else 0.0))
'''

SCORED = "tricks.scored.use=./toy.py:Scored"
BOOST = "boost.use=./toy.py:Boost"


@pytest.fixture
def study(toy):
    with open(toy / "toy.py", "a") as file:
        file.write(MORE)
    return toy


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


def test_a_study_from_its_command_to_its_table(gankit, study):
    asked = ("ablate", "toy.toml", "--add", BOOST, SCORED, "--seeds", "2", "--jobs", "2", "--out", "s")
    answer = gankit(*asked)
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if not line.startswith("advice: ")]
    assert lines[:2] == ["toy: recipe, with boost.use=./toy.py:Boost", "2 seeds, 4 runs, into s"]
    assert sum(line.endswith(": begins") for line in lines) == 4
    assert sum(bool(re.search(r": done after \d+ s; \d of 4 over", line)) for line in lines) == 4
    assert lines[-1] == "  gankit ablate s --seeds 4"
    rows = effects(study / "s")
    assert [row["measure"] for row in rows] == ["score", "weight"]
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
    other = gankit(*asked, "train.iterations=13")
    assert (other.code, other.out) == (2, "")
    assert "train.iterations of recipe was 12 when the study began and is 13 now" in other.err
    assert gankit("ablate", "s", "train.iterations=13").code == 2


def test_killed_in_the_middle_it_goes_on_to_the_same_table(gankit, start_process, study):
    # Left out, one at a time: boost.
    asked = ("ablate", "toy.toml", SCORED, f"tricks.{BOOST}", SLOW, "--only", "boost", "--seeds", "2", "--jobs", "2")
    process = start_process(*asked, "--out", "s", "tricks.slow.seconds=0.3")
    run = study / "s" / "recipe" / "seed-0"
    wait_until(lambda: logged(run / "log.jsonl"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The runs notice that they are alone, and are waited for.
    answer = gankit("ablate", "s", "--jobs", "2")
    assert answer.code == 0, answer.err
    assert re.search(r"recipe, seed 0: goes on, from iteration \d+\n", answer.out)
    assert "resumed" in json.loads((run / "environment.json").read_text())
    assert len((run / "log.jsonl").read_text().splitlines()) == len(set((run / "log.jsonl").read_text().splitlines()))
    assert gankit(*asked, "--out", "whole", "tricks.slow.seconds=0.0").code == 0
    assert effects(study / "s") == effects(study / "whole")
    assert effects(study / "s")[0]["effect"]["mean"] == pytest.approx(2.05)
    ends = [
        {p.relative_to(study / of) for p in (study / of).glob("*/*/generator.safetensors")} for of in ("s", "whole")
    ]
    assert ends[0] == ends[1]
    for end in ends[0]:
        broken, whole = (load_file(study / of / end) for of in ("s", "whole"))
        assert all(torch.equal(broken[name], whole[name]) for name in whole)


def test_ctrl_c_leaves_checkpoints_and_the_way_to_go_on(gankit, start_process, study):
    process = start_process(
        *("ablate", "toy.toml", "--add", BOOST, SCORED, SLOW, "tricks.slow.seconds=0.3", "--seeds", "1", "--out", "s"),
        "output.checkpoint_every=100", "--jobs", "1", start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: logged(study / "s" / "recipe" / "seed-0" / "log.jsonl"))
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "stopping: each run finishes its iteration and writes a checkpoint; again stops at once\n"
    assert out.endswith("interrupted; each run has written a checkpoint\nnext:\n  gankit ablate s\n")
    assert "Not finished: 0 of 2 runs are over." in out
    (written,) = (study / "s" / "recipe" / "seed-0" / "checkpoints").iterdir()
    assert 4 <= int(written.name) < 12
    assert not (study / "s" / "recipe" / "seed-0" / "outcome.json").exists()


def test_a_run_that_breaks_down_is_counted_and_the_others_go_on(gankit, study):
    answer = gankit(
        *("ablate", "toy.toml", "--add", "breaks_one.use=./toy.py:BreaksOne", SCORED, "--seeds", "0,1", "--out", "s"),
        *("--jobs", "2"),
    )
    assert answer.code == 0, answer.err
    assert re.search(r"BreaksOne, seed 1: broke down, iteration 4: the discriminator's .*\bis nan", answer.out)
    assert "with breaks_one.use=./toy.py:BreaksOne: 1 of 2 broke down (seed 1); they are not compared." in answer.out
    assert [row["effect"]["pairs"] for row in effects(study / "s")] == [1, 1]


def test_a_mistake_that_only_a_run_shows_ends_the_study(gankit, study):
    answer = gankit("ablate", "toy.toml", "--add", "bug.use=./toy.py:Bug", "--seeds", "1", "--out", "s", "--jobs", "1")
    assert answer.code == 1
    assert answer.err.startswith(
        "error: with bug.use=./toy.py:Bug, seed 0: ZeroDivisionError: a bug in a plugin (s/with-bug.use=._toy.py_Bug/"
    )
    assert answer.err.endswith("when it is mended, `gankit ablate s` goes on\n")


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
    assert sorted(p.name for p in study.iterdir() if p.name != "__pycache__") == ["toy.py", "toy.toml"]
