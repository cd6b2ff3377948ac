"""Resume after a kill: the run ends with the same bytes as a run that was not killed.

`killer.py` trains the runs in real processes and kills them before each operation on the disk in turn.
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
    """Process of killer.py."""

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
    process = Killer()
    yield process
    process.close()


EVERYTHING = {
    "train": {"iterations": 4, "batch_size": 4, "class_balanced": True, "discriminator_steps": 2},
    "output": {"log_every": 1, "sample_every": 2, "checkpoint_every": 2, "keep_checkpoints": 1, "sample_count": 2},
    "data": {"count": 11},
    "lr_schedule": {"use": "Halving"},
    "normalization": {"discriminator": {"use": "BatchNorm"}},
    "tricks": {"w": {"use": "Wander"}, "average": {"use": "Average"}},
}
"""Recipe with dropout, batch norm, Adam, balanced batches, a schedule, and plugins with state and random numbers."""


def log_of(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def files_of(run):
    """Return the content of every file of a run, except those that record times and places."""
    excluded = {"log.jsonl", "environment.json", "report.html", ".lock"}
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in excluded
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
    """Return a run that was not killed, its recipe, and its number of operations on the disk."""
    run = module_tmp / "unbroken"
    recipe = module_tmp / "toy.toml"
    if not run.exists():
        shutil.copy(toy_file(**EVERYTHING), recipe)
        assert killer("warm up", recipe=recipe, out=module_tmp / "warm")[0] == 0
        answer = killer("start", recipe=recipe, out=run)
        assert answer["code"] == 0, answer["messages"]
        (module_tmp / "operations").write_text(str(answer["operations"]))
    return run, recipe, int((module_tmp / "operations").read_text())


@pytest.mark.parametrize("tear", [False, True], ids=["killed before", "torn"])
def test_a_kill_before_every_operation_on_the_disk(killer, unbroken, tmp_path, tear):
    whole, recipe, operations = unbroken
    assert operations > 40
    # Without truncated files, every third operation is enough: the others are tested with them.
    step = 1 if tear else 3
    places = []
    for moment in range(1, operations + 1, step):
        run = tmp_path / str(moment)
        assert killer("start", recipe=recipe, out=run, kill=moment, tear=tear)["code"] == KILLED
        if not (run / "recipe.toml").exists():
            continue  # killed before the run directory was complete
        places.append(sorted(p.name for p in run.glob("checkpoints/[0-9]*")))
        answer = killer("resume", out=run)
        assert answer["code"] == 0, (moment, answer["messages"])
        assert_same_end(run, whole)
        shutil.rmtree(run)
    assert [] in places
    assert ["000002"] in places
    assert ["000004"] in places
    # After the first checkpoint there is always one.
    assert [] not in places[places.index(["000002"]) :]


def test_a_kill_during_a_resume(killer, unbroken, tmp_path):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    assert killer("start", recipe=recipe, out=run, kill=operations // 2)["code"] == KILLED
    for moment in (3, 12, 20):
        assert killer("resume", out=run, kill=moment, tear=True)["code"] == KILLED
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_a_kill_while_a_finished_run_is_resumed(killer, unbroken, tmp_path):
    whole, _, _ = unbroken
    moment, code = 0, KILLED
    while code == KILLED:
        moment += 2
        run = tmp_path / str(moment)
        shutil.copytree(whole, run)
        code = killer("resume", out=run, kill=moment)["code"]
        assert (run / "checkpoints" / "000004" / "state.json").exists()
        assert killer("resume", out=run)["code"] == 0
        assert_same_end(run, whole)
    assert moment > 5


def test_prefetched_images_do_not_change_the_result(killer, unbroken, tmp_path):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    assert killer("start", recipe=recipe, out=run, prefetch=True, kill=operations - 10)["code"] == KILLED
    assert killer("resume", out=run, prefetch=True)["code"] == 0
    assert_same_end(run, whole)


def test_a_resume_in_a_separate_process(killer, unbroken, tmp_path):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    assert killer("start", recipe=recipe, out=run, kill=operations - 10)["code"] == KILLED
    process = Killer()
    assert process("resume", out=run)["code"] == 0
    process.close()
    assert_same_end(run, whole)


def test_more_iterations_at_a_resume(killer, unbroken, tmp_path, toy_file):
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


def check_files(run):
    """Check that there are no temporary files and that every checkpoint is valid."""
    from gankit.storage.checkpoint import verify

    assert list(run.rglob(".tmp-*")) == []
    for place in run.glob("checkpoints/*"):
        verify(place)


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_a_full_disk_is_an_error_and_keeps_the_last_checkpoint(killer, unbroken, tmp_path, share):
    whole, recipe, operations = unbroken
    run = tmp_path / "run"
    answer = killer("start", recipe=recipe, out=run, full=int(operations * share))
    assert answer["code"] == 1
    assert len(answer["messages"]) == 1
    assert answer["messages"][0].startswith("the disk is full: ")
    assert "No space left on device" in answer["messages"][0]
    assert "\n" not in answer["messages"][0]
    check_files(run)
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_a_limit_on_the_size_of_a_file_is_an_error(killer, unbroken, tmp_path):
    whole, recipe, _ = unbroken
    run = tmp_path / "run"
    largest = max(len(data) for name, data in files_of(whole).items() if name.startswith("checkpoints/"))
    answer = killer("start", recipe=recipe, out=run, limit=largest // 2)
    assert answer["code"] == 1
    assert answer["messages"][0].startswith("the disk is full: ")
    assert "File too large" in answer["messages"][0]
    check_files(run)
    assert list(run.glob("checkpoints/*")) == []
    assert killer("resume", out=run)["code"] == 0
    assert_same_end(run, whole)


def test_a_disk_that_is_full_at_the_start(killer, unbroken, tmp_path):
    _, recipe, _ = unbroken
    answer = killer("start", recipe=recipe, out=tmp_path / "run", full=1)
    assert answer["code"] == 1
    assert answer["messages"][0].startswith("the disk is full: ")
