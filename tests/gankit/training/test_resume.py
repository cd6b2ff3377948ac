"""Resume after a kill: the run ends with the same bytes as a run that was not killed.

`killer.py` trains the runs in real processes and kills them in each operation on the disk in turn.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from gankit import Recipe
from gankit.storage.checkpoint import verify
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from tests.gankit.conftest import write_toy_recipe

KILLED = -9

EVERYTHING = {
    "train": {"iterations": 2, "batch_size": 4, "class_balanced": True, "discriminator_steps": 2},
    "output": {"log_every": 1, "sample_every": 1, "checkpoint_every": 1, "keep_checkpoints": 1, "sample_count": 2},
    "data": {"count": 11},
    "lr_schedule": {"use": "Halving"},
    "normalization": {"discriminator": {"use": "BatchNorm"}},
    "tricks": {"w": {"use": "Wander"}, "average": {"use": "Average"}},
}
"""Recipe with dropout, batch norm, Adam, balanced batches, a schedule, and plugins with state and random numbers."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def recipe(folder):
    return write_toy_recipe(folder / "toy.toml", **EVERYTHING)


@contextmanager
def running_killer(recipe, folder):
    """Start killer.py for a recipe. Yield a function that runs a command of killer.py and returns its result."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("killer.py"), recipe, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )

    def run(do, out, **command):
        print(json.dumps({"do": do, "out": str(out)} | command), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


@pytest.fixture(scope="module")
def killer(folder, recipe):
    with running_killer(recipe, folder / "first") as run:
        yield run


@pytest.fixture(scope="module")
def whole(folder, recipe):
    """Return a run that was not killed, and that another process than the killed ones has trained."""
    start(Recipe.load(recipe), folder / "whole", Reporter())
    return folder / "whole"


@pytest.fixture(scope="module")
def operations(folder, killer):
    """Return the number of operations on the disk."""
    result = killer("start", folder / "counted")
    assert result["code"] == 0, result
    return result["operations"]


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


def assert_same_end(run, whole):
    files, expected = files_of(run), files_of(whole)
    assert files.keys() == expected.keys()
    assert [name for name in files if files[name] != expected[name]] == []
    assert log_of(run) == log_of(whole)


def test_a_kill_in_every_operation_on_the_disk(killer, whole, operations, tmp_path):
    assert operations > 30
    places = []
    for moment in range(1, operations + 1):
        run = tmp_path / str(moment)
        assert killer("start", run, kill=moment)["code"] == KILLED
        if not (run / "recipe.toml").exists():
            continue  # killed before the run directory was complete
        places.append(sorted(p.name for p in run.glob("checkpoints/[0-9]*")))
        result = killer("resume", run)
        assert result["code"] == 0, (moment, result)
        assert_same_end(run, whole)
    assert [] in places
    assert ["000001"] in places
    assert ["000002"] in places
    # After the first checkpoint there is always one.
    assert [] not in places[places.index(["000001"]) :]


def test_a_kill_during_a_resume(killer, whole, operations, tmp_path):
    run = tmp_path / "run"
    assert killer("start", run, kill=operations // 2)["code"] == KILLED
    for moment in (2, 9, 14):
        assert killer("resume", run, kill=moment)["code"] == KILLED
    assert killer("resume", run)["code"] == 0
    assert_same_end(run, whole)


def test_a_kill_while_a_finished_run_is_resumed(killer, whole, tmp_path):
    moment, code = 0, KILLED
    while code == KILLED:
        moment += 2
        run = tmp_path / str(moment)
        shutil.copytree(whole, run)
        code = killer("resume", run, kill=moment)["code"]
        assert (run / "checkpoints" / "000002" / "state.json").exists()
        assert killer("resume", run)["code"] == 0
        assert_same_end(run, whole)
    assert moment > 5


def test_prefetched_images_do_not_change_the_result(killer, whole, operations, tmp_path):
    run = tmp_path / "run"
    assert killer("start", run, prefetch=True, kill=operations - 10)["code"] == KILLED
    assert killer("resume", run, prefetch=True)["code"] == 0
    assert_same_end(run, whole)


@pytest.mark.parametrize("part", [0, 0.35, 0.6, 0.9])
def test_a_full_disk_is_an_error_and_keeps_the_last_checkpoint(killer, whole, operations, tmp_path, part):
    run = tmp_path / "run"
    result = killer("start", run, full=int(operations * part))
    assert result["code"] == 1
    assert result["error"].startswith("the disk is full: ")
    assert "No space left on device" in result["error"]
    assert "\n" not in result["error"]
    assert list(run.rglob(".tmp-*")) == []
    for place in run.glob("checkpoints/*"):
        verify(place)
    assert killer("resume" if part else "start", run)["code"] == 0
    assert_same_end(run, whole)
