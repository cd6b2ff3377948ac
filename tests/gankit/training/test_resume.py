"""A run that is killed at any moment and resumed ends with the same bytes as one that was not.

Real processes, really killed: `killer.py` plays the runs. Each operation on the disk that a run does is, in turn, the
one before which the process dies.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KILLER = Path(__file__).with_name("killer.py")
KILLED = -9


class Killer:
    """One process of killer.py."""

    def __init__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, do, **command):
        print(json.dumps({"do": do} | command, default=str), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def killer():
    made = Killer()
    yield made
    made.close()


EVERYTHING = {
    "train": {"iterations": 4, "batch_size": 4, "class_balanced": True, "discriminator_steps": 2},
    "output": {"log_every": 1, "sample_every": 2, "checkpoint_every": 2, "keep_checkpoints": 1, "sample_count": 2},
    "data": {"count": 11},
    "lr_schedule": {"use": "Halving"},
    "normalization": {"discriminator": {"use": "BatchNorm"}},
    "tricks": {"w": {"use": "Wander"}, "average": {"use": "Average"}},
}
"""Dropout, batch norm, Adam, balanced batches, a schedule, plugins with state, and both random generators."""


def log_of(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def files_of(run):
    """Every file of a run with what is in it, but for what says when and where it was played."""
    different = {"log.jsonl", "environment.json", "report.html", ".lock"}
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in different
    }


def assert_same_end(run, unbroken):
    files, expected = files_of(run), files_of(unbroken)
    assert files.keys() == expected.keys()
    assert [name for name in files if files[name] != expected[name]] == []
    assert log_of(run) == log_of(unbroken)


@pytest.fixture(scope="module")
def module_tmp(tmp_path_factory):
    return tmp_path_factory.mktemp("killed")


@pytest.fixture
def unbroken(killer, toy_file, module_tmp):
    """A run that was not killed, its recipe, and how many operations on the disk it took."""
    run = module_tmp / "unbroken"
    recipe = module_tmp / "toy.toml"
    if not run.exists():
        shutil.copy(toy_file(**EVERYTHING), recipe)
        assert killer("warm up", recipe=recipe, out=module_tmp / "warm")[0] == 0
        answer = killer("start", recipe=recipe, out=run)
        assert answer["code"] == 0, answer["told"]
        (module_tmp / "operations").write_text(str(answer["operations"]))
    return run, recipe, int((module_tmp / "operations").read_text())


@pytest.mark.parametrize("tear", [False, True], ids=["killed before", "torn"])
def test_killed_before_any_operation_on_the_disk(killer, unbroken, tmp_path, tear):
    whole, recipe, operations = unbroken
    assert operations > 40
    places = []
    for moment in range(1, operations + 1):
        run = tmp_path / str(moment)
        assert killer("start", recipe=recipe, out=run, kill=moment, tear=tear)["code"] == KILLED
        if not (run / "recipe.toml").exists():
            continue  # killed before there was a run
        places.append(sorted(p.name for p in run.glob("checkpoints/[0-9]*")))
        answer = killer("resume", out=run)
        assert answer["code"] == 0, (moment, answer["told"])
        assert_same_end(run, whole)
        shutil.rmtree(run)
    assert [] in places
    assert ["000002"] in places
    assert ["000004"] in places
    # From the first checkpoint on, there is always one.
    assert [] not in places[places.index(["000002"]) :]


def test_killed_again_while_resuming(killer, unbroken, tmp_path):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    assert killer("start", recipe=recipe, out=run, kill=operations // 2)["code"] == KILLED
    for moment in (3, 12, 20):
        assert killer("resume", out=run, kill=moment, tear=True)["code"] == KILLED
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_killed_while_a_finished_run_is_resumed(killer, unbroken, tmp_path):
    whole, _, _ = unbroken
    moment, code = 0, KILLED
    while code == KILLED:
        moment += 1
        run = tmp_path / str(moment)
        shutil.copytree(whole, run)
        code = killer("resume", out=run, kill=moment)["code"]
        assert (run / "checkpoints" / "000004" / "state.json").exists()
        assert killer("resume", out=run)["code"] == 0
        assert_same_end(run, whole)
    assert moment > 5


def test_images_gathered_ahead_make_no_difference(killer, unbroken, tmp_path):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    assert killer("start", recipe=recipe, out=run, prefetch=True, kill=operations - 10)["code"] == KILLED
    assert killer("resume", out=run, prefetch=True)["code"] == 0
    assert_same_end(run, whole)


def test_processes_that_share_nothing(unbroken, tmp_path):
    """Not children of one process: a new one to be killed, and another to resume."""
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    for do in ("start", "resume"):
        fresh = Killer()
        kill = {"kill": operations - 10} if do == "start" else {}
        assert fresh(do, recipe=recipe, out=run, **kill)["code"] == (KILLED if do == "start" else 0)
        fresh.close()
    assert_same_end(run, whole)


def test_a_longer_run_in_two_goes(killer, unbroken, tmp_path, toy_file):
    _, recipe, _ = unbroken
    long, short = tmp_path / "long", tmp_path / "short"
    text = recipe.read_text()
    longer = tmp_path / "longer.toml"
    longer.write_text(text.replace("iterations = 4", "iterations = 7"))
    assert killer("start", recipe=longer, out=long)["code"] == 0
    assert killer("start", recipe=recipe, out=short)["code"] == 0
    answer = killer("resume", out=short, overrides=["train.iterations=7"])
    assert answer["code"] == 0
    assert (short / "generator.safetensors").read_bytes() == (long / "generator.safetensors").read_bytes()


# A full disk


def everything_is_whole(run):
    """No leftovers, and every checkpoint as it was written."""
    from gankit.storage.checkpoint import verify

    assert list(run.rglob(".tmp-*")) == []
    for place in run.glob("checkpoints/*"):
        verify(place)


@pytest.mark.parametrize("share", [0.35, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_a_full_disk_is_a_sentence_and_leaves_the_last_checkpoint_whole(killer, unbroken, tmp_path, share):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    answer = killer("start", recipe=recipe, out=run, full=int(operations * share))
    assert answer["code"] == 1
    assert len(answer["told"]) == 1
    assert answer["told"][0].startswith("the disk is full: ")
    assert "No space left on device" in answer["told"][0]
    assert "\n" not in answer["told"][0]
    everything_is_whole(run)
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_a_file_that_may_not_grow_is_a_sentence_too(killer, unbroken, tmp_path):
    whole, recipe, _ = unbroken
    run = tmp_path / "run"
    largest = max(len(data) for name, data in files_of(whole).items() if name.startswith("checkpoints/"))
    answer = killer("start", recipe=recipe, out=run, limit=largest // 2)
    assert answer["code"] == 1
    assert answer["told"][0].startswith("the disk is full: ")
    assert "File too large" in answer["told"][0]
    everything_is_whole(run)
    assert list(run.glob("checkpoints/*")) == []
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_a_disk_that_is_full_from_the_start(killer, unbroken, tmp_path):
    _, recipe, _ = unbroken
    answer = killer("start", recipe=recipe, out=tmp_path / "run", full=1)
    assert answer["code"] == 1
    assert answer["told"][0].startswith("the disk is full: ")
