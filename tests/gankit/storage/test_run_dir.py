"""Tests of the run directory: creation, lock, log, checkpoints, provenance and changes at resume."""

import fcntl
import hashlib
import json
import multiprocessing
import re
import threading
from pathlib import Path

import pytest

from gankit import GankitError, InputError, Recipe
from gankit.storage.atomic_io import write_bytes
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir
from gankit.training.launch import start
from gankit.training.reporter import Reporter


def test_out_is_the_run_directory(toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path / "deep" / "out")
    assert directory.path == tmp_path / "deep" / "out"
    assert directory.recipe_file.read_text() == toy_recipe().to_toml()


def test_default_directory_is_named_after_recipe_and_time(toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "2026-11-20T12-00-00")
    recipe = toy_recipe(output={"directory": str(tmp_path / "runs")})
    paths = [RunDir.create(recipe).path for _ in range(3)]
    assert paths[0] == tmp_path / "runs" / "toy" / "2026-11-20T12-00-00"
    assert [p.name for p in paths[1:]] == ["2026-11-20T12-00-00-2", "2026-11-20T12-00-00-3"]


def test_out_must_be_new_or_empty(toy_recipe, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    RunDir.create(toy_recipe(), tmp_path / "run")
    for name, message in [
        ("file", "a file of that name is in the way"),
        ("full", "the folder is not empty; name a new or an empty folder"),
        ("run", f"the folder holds a run; continue it with `gankit resume {tmp_path / 'run'}`"),
    ]:
        with pytest.raises(InputError, match=f"--out {tmp_path / name}: ") as error:
            RunDir.create(toy_recipe(), tmp_path / name)
        assert message in str(error.value)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_created_is_an_error(toy_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GankitError, match="could not be written: Not a directory"):
        RunDir.create(toy_recipe(), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("name", "reason"), [("gone", "it does not exist"), (".", "it has no recipe.toml"), ("file", "it is a file")]
)
def test_open_refuses_a_path_without_a_run(tmp_path, name, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"is not a run directory: {reason}"):
        RunDir.open(tmp_path / name)


def test_a_locked_run_refuses_other_processes(resume_toy, toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path / "run")
    refusal = f"{directory.path}: another process is at work on this run; wait for it or stop it"
    with pytest.raises(InputError, match=f"^{re.escape(refusal)}$"):
        resume_toy()
    directory.release()
    resume_toy()


def _hold(path, ready):
    directory = RunDir(path)
    directory.lock()
    ready.set()
    multiprocessing.Event().wait()


def test_a_killed_process_leaves_no_lock(toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path)
    directory.release()
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    holder = fork.Process(target=_hold, args=(tmp_path, ready), daemon=True)
    holder.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match="another process"):
        RunDir(tmp_path).lock()
    assert RunDir(tmp_path).is_locked()
    holder.kill()
    holder.join()
    holder.close()
    assert not RunDir(tmp_path).is_locked()
    RunDir(tmp_path).lock()


def test_a_process_that_checks_the_lock_does_not_block_a_run(tmp_path):
    """`is_locked` of another process, such as `gankit watch`, holds a shared lock for a moment."""
    directory = RunDir(tmp_path)
    directory.lock()
    directory.release()
    checking = (tmp_path / ".lock").open("w")
    fcntl.flock(checking, fcntl.LOCK_SH)
    threading.Timer(0.05, checking.close).start()
    directory.lock()
    directory.release()


def test_is_locked_creates_no_file_and_works_on_a_read_only_folder(tmp_path):
    assert not RunDir(tmp_path).is_locked()
    assert list(tmp_path.iterdir()) == []
    other = RunDir(tmp_path)
    other.lock()
    (tmp_path / ".lock").chmod(0o444)
    tmp_path.chmod(0o555)
    assert RunDir(tmp_path).is_locked()
    other.release()
    assert not RunDir(tmp_path).is_locked()


def rows(*iterations):
    return [{"iteration": n, "loss": n * 1.5} for n in iterations]


def test_rewind_removes_later_rows_and_temporary_files(tmp_path):
    directory = RunDir(tmp_path)
    for row in rows(1, 2, 3, 4):
        directory.log(row)
    with open(directory.log_file, "a") as file:
        file.write('{"iteration": 5, "lo')
    for name in ("samples", "checkpoints", "checkpoints/.tmp-000004"):
        (tmp_path / name).mkdir()
    half = ("samples/.tmp-000003.png", ".tmp-recipe.toml", "checkpoints/.tmp-000004/state.json", "samples/000003.png")
    for name in half:
        (tmp_path / name).write_text("half")
    assert directory.read_log() == rows(1, 2, 3, 4)
    directory.rewind(2)
    assert directory.read_log() == rows(1, 2)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["000003.png", "checkpoints", "log.jsonl", "samples"]
    directory.log(rows(3)[0])
    assert [json.loads(line) for line in directory.log_file.read_text().splitlines()] == rows(1, 2, 3)


def test_prune_keeps_the_newest_checkpoints(tmp_path):
    directory = RunDir(tmp_path)
    every = ["000005", "999999", "1000000"]
    for name in every:
        directory.checkpoint(int(name)).mkdir(parents=True)
    for keep in (9, 2, 1):
        directory.prune(keep)
        assert [p.name for p in directory.saved_checkpoints()] == every[-keep:]


def test_newest_grid_is_the_one_with_the_highest_number(tmp_path):
    directory = RunDir(tmp_path)
    assert directory.newest_grid() is None
    for number in (5, 1_000_000, 999_999):
        write_bytes(directory.grid(number), b"")
    (tmp_path / "samples" / "2000000 (copy).png").write_text("")
    assert directory.newest_grid().name == "1000000.png"


def test_environment_record(train_toy, toys):
    run = train_toy(seed=3)
    record = json.loads((run.path / "environment.json").read_text())
    assert record["seed"] == 3
    assert record["device"] == "cpu"
    assert {"gankit", "torch", "python", "platform", "command", "threads"} <= record.keys()
    assert record["plugins"]["generator"] == {
        "use": "G",
        "distribution": "toys",
        "version": "1.0",
        "origin": "gankit_toys:G",
        "sha256": hashlib.sha256(Path(toys.__file__).read_bytes()).hexdigest(),
    }
    assert list(record["plugins"]) == sorted(run.run.recipe.components)


def test_resume_reports_another_plugin_version(train_toy, resume_toy, shelf):
    run = train_toy()
    record = json.loads((run.path / "environment.json").read_text())
    record["plugins"]["generator"]["version"] = "0.9"
    (run.path / "environment.json").write_text(json.dumps(record))
    messages = resume_toy("run").reporter.messages
    assert messages[0] == "generator: the run was last trained with G of toys 0.9; G of toys 1.0 is used now"
    # The comparison is with the last process, not with the first.
    assert resume_toy("run").reporter.messages[0].startswith("resuming from")
    (run.path / "environment.json").write_text("{")
    assert resume_toy("run").reporter.messages[0].startswith("resuming from")


def test_changed_plugins_reports_a_changed_source():
    def record(digest, **where):
        plugin = {"use": "./x.py:X", "distribution": "", "version": "", "origin": "/home/x.py:X", "sha256": digest}
        return {"tricks.x": plugin | where}

    assert changed_plugins({"plugins": record("1")}, record("1")) == []
    assert changed_plugins({"plugins": record("1")}, record("2")) == [
        "tricks.x: the source of /home/x.py:X has changed since the run was last trained"
    ]
    installed = {"use": "x", "distribution": "kit", "version": "1.5"}
    assert changed_plugins({"plugins": record("1", **installed)}, record("2", **installed)) == [
        "tricks.x: the source of x of kit 1.5 has changed since the run was last trained"
    ]
    assert changed_plugins({"plugins": record("1")}, record("1", **installed)) == [
        "tricks.x: the run was last trained with /home/x.py:X; x of kit 1.5 is used now"
    ]
    assert changed_plugins({"plugins": record("1")}, {}) == []


# Changes at resume


def test_resume_with_more_iterations(train_toy, resume_toy):
    run = train_toy()
    again = resume_toy()
    assert again.reporter.messages[-1] == "the run is complete: 6 iterations; train.iterations=N trains further"
    assert again.generator == run.generator
    again = resume_toy("run", "train.iterations=8", "output.log_every=1")
    assert again.reporter.trained_iterations == [7, 8]
    assert again.generator == train_toy("long", train={"iterations": 8}, output={"log_every": 1}).generator
    assert "iterations = 8" in (run.path / "recipe.toml").read_text()


@pytest.mark.parametrize("override", ["seed=3", "train.batch_size=4", "generator.width=9", "tricks.x.use=Wander"])
def test_resume_refuses_settings_that_decide_the_training(train_toy, resume_toy, override):
    run = train_toy()
    before = (run.path / "recipe.toml").read_bytes()
    with pytest.raises(
        InputError, match=r"a resumed run keeps its recipe; only train\.iterations, train\.device, train\.rollbacks"
    ):
        resume_toy("run", override)
    assert (run.path / "recipe.toml").read_bytes() == before


def test_start_writes_nothing_for_a_recipe_that_cannot_be_trained(train_toy, tmp_path):
    with pytest.raises(InputError):
        train_toy(data={"count": 0})
    with pytest.raises(InputError):
        train_toy(train={"class_balanced": True, "batch_size": 5})
    assert not (tmp_path / "run").exists()


def test_the_requested_device_is_recorded(toy_recipe, tmp_path):
    recipe = toy_recipe(train={"device": "auto", "iterations": 1})
    directory, _ = start(recipe, tmp_path / "out", Reporter(), device="cpu")
    assert Recipe.load(directory.recipe_file).train.device == "cpu"


def test_sources_of_file_plugins_are_copied(toy_recipe, tmp_path):
    (tmp_path / "mine.py").write_text("from gankit import Plugin\nclass Mine(Plugin):\n    name = 'mine'\n")
    recipe = toy_recipe(tricks={"mine": {"use": "./mine.py:Mine"}})
    directory = RunDir.create(recipe, tmp_path / "run")
    copies = {path.name: path.read_text() for path in (directory.path / "sources").iterdir()}
    assert copies == {"mine.py": (tmp_path / "mine.py").read_text()}
    assert not (RunDir.create(toy_recipe(), tmp_path / "plain").path / "sources").exists()
