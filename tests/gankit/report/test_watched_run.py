"""Run that is watched while its files change: what is read again, and text about its progress."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from gankit import InputError
from gankit.report.run_record import Ending, read_run
from gankit.report.watched_run import WatchedRun, describe_progress, fingerprint, seconds_left
from gankit.storage.run_dir import RunDir


@pytest.fixture
def directory(tmp_path):
    """Directory of a run that a process trains, before its first row in the log."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "recipe.toml").write_text('name = "toy"\n[train]\niterations = 1000\n')
    directory = RunDir(path)
    directory.lock()
    return directory


def row(iteration, seconds=1.0):
    rates = {"generator": 0.01, "discriminator": 0.01}
    loss = {"generator": {"fool": 0.7}, "discriminator": {"real": 0.6}}
    numbers = {"iteration": iteration, "seconds": seconds, "images_per_second": 9.0}
    return numbers | {"learning_rate": rates, "loss": loss}


def test_the_run_is_read_again_only_if_its_files_have_changed(directory):
    run = WatchedRun(directory.path)
    empty = run.record
    run.refresh()
    assert run.record is empty
    assert empty.rows == []
    changes = [
        lambda: directory.log(row(20)),
        lambda: directory.log_evaluation({"iteration": 20, "metrics": {"fid": 3.0}}),
        lambda: directory.samples.mkdir(),
        lambda: directory.grid(20).write_bytes(b""),
        lambda: directory.write_environment({"python": "3.11"}),
        directory.release,
    ]
    versions = [run.version]
    for change in changes:
        # File systems with coarse times may give two changes the same time.
        os.utime(directory.path / "recipe.toml", ns=(0, len(versions)))
        record = run.record
        change()
        run.refresh()
        versions.append(run.version)
        assert run.record is not record
    assert len(set(versions)) == len(versions)
    assert run.record.ending.state == "cut short"
    assert run.record.rows == [row(20)]


def test_a_watched_run_writes_nothing(directory):
    directory.log(row(20))
    before = sorted((p.name, p.stat().st_mtime_ns) for p in [directory.path, *directory.path.rglob("*")])
    run = WatchedRun(directory.path)
    run.refresh()
    assert sorted((p.name, p.stat().st_mtime_ns) for p in [directory.path, *directory.path.rglob("*")]) == before


def test_progress_from_the_start_to_the_end(directory):
    now = directory.recipe_file.stat().st_mtime + 30
    run = WatchedRun(directory.path, lambda: now)
    assert run.refresh() == "running: no losses in log.jsonl yet, started 30 s ago"
    directory.log(row(20, seconds=2.0))
    written = directory.log_file.stat().st_mtime
    now = written + 5
    assert run.refresh() == "running: iteration 20 of 1,000, newest row 5 s ago"
    directory.log(row(40, seconds=6.0))
    os.utime(directory.log_file, (written, written))
    assert run.refresh() == "running: iteration 40 of 1,000, 3 min 7 s left, newest row 5 s ago"
    now = written + 610
    assert run.refresh() == "running, but no new row in log.jsonl for 10 min 10 s"
    directory.release()
    assert run.refresh().startswith("cut short after iteration 40, with no reason recorded; `gankit resume ")
    ended = {"state": "finished", "iteration": 1000, "reason": None, "seconds": 9.0, "peak_memory": {}}
    directory.write_environment({"ended": ended})
    assert run.refresh() == "finished: 1,000 iterations"


def test_a_warning_does_not_change_the_time_since_the_start(directory):
    directory.write_environment({"python": "3.11"})
    directory.log({"iteration": 1, "warning": "D's loss is near 0"})
    now = directory.recipe_file.stat().st_mtime + 900
    for file, age in ((directory.environment_file, 700), (directory.log_file, 5)):
        os.utime(file, (now - age, now - age))
    assert (
        WatchedRun(directory.path, lambda: now)
        .refresh()
        .endswith("no losses in log.jsonl yet, started 11 min 40 s ago")
    )


def test_a_truncated_row_and_a_deleted_directory(directory):
    directory.log(row(20))
    run = WatchedRun(directory.path)
    with open(directory.log_file, "a") as file:
        file.write(json.dumps(row(40))[:30])
    run.refresh()
    assert [r["iteration"] for r in run.record.rows] == [20]
    shutil.rmtree(directory.path)
    assert "does not exist" in run.refresh() or "No such file" in run.refresh()
    assert [r["iteration"] for r in run.record.rows] == [20]
    with pytest.raises(InputError, match="is not a run directory"):
        WatchedRun(directory.path)


@pytest.mark.parametrize(
    ("rows", "age", "expected"),
    [
        pytest.param([], 0, None, id="no row"),
        pytest.param([(20, 2.0)], 0, None, id="one row"),
        pytest.param([(20, 2.0), (40, 6.0)], 0, 960 * 0.2, id="two rows"),
        pytest.param([(20, 2.0), (40, 6.0)], 10, 960 * 0.2 - 10, id="an old row"),
        pytest.param([(990, 1.0), (1000, 3.0)], 5, 0, id="not below zero"),
        pytest.param([(20, 2.0), (40, 6.0), (60, 1.0), (80, 2.0)], 0, 920 * 5 / 40, id="after a resume"),
        pytest.param([(20, 50.0), (40, 1.0)], 0, None, id="one row after a resume"),
        pytest.param([(i, i**2 / 2) for i in range(1, 101)], 0, 900 * (100**2 - 81**2) / 2 / 19, id="newest 20 rows"),
    ],
)
def test_the_time_left_is_that_of_the_newest_rows(directory, rows, age, expected):
    run = replace(read_run(directory.path), rows=[row(*one) for one in rows])
    assert seconds_left(run, age) == (expected if expected is None else pytest.approx(expected))


def test_the_fingerprint_and_the_end_do_not_depend_on_the_time(directory):
    assert fingerprint(directory) == fingerprint(RunDir(directory.path))
    run = replace(read_run(directory.path), ending=Ending("interrupted", 40))
    assert describe_progress(run, 5) == describe_progress(run, 5000)
