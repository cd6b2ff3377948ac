"""The run directory: where it may be made, who may be in it, what is taken back and what is kept."""

import hashlib
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gankit import GankitError, InputError
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir


def test_out_is_the_directory_itself(toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path / "deep" / "out")
    assert directory.path == tmp_path / "deep" / "out"
    assert directory.recipe_file.read_text() == toy_recipe().to_toml()


def test_without_out_it_is_named_after_recipe_and_time(toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "2026-11-20T12-00-00")
    recipe = toy_recipe(output={"directory": str(tmp_path / "runs")})
    paths = [RunDir.create(recipe).path for _ in range(3)]
    assert paths[0] == tmp_path / "runs" / "toy" / "2026-11-20T12-00-00"
    assert [p.name for p in paths[1:]] == ["2026-11-20T12-00-00-2", "2026-11-20T12-00-00-3"]


def test_an_empty_folder_will_do(toy_recipe, tmp_path):
    (tmp_path / "out").mkdir()
    RunDir.create(toy_recipe(), tmp_path / "out")


def test_out_must_not_hold_anything(toy_recipe, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    RunDir.create(toy_recipe(), tmp_path / "run")
    for name, message in [
        ("file", "a file of that name is in the way"),
        ("full", "the folder is not empty; name one that is, or a new one"),
        ("run", f"a run is there already; `gankit resume {tmp_path / 'run'}` goes on with it"),
    ]:
        with pytest.raises(InputError, match=f"--out {tmp_path / name}: ") as error:
            RunDir.create(toy_recipe(), tmp_path / name)
        assert message in str(error.value)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_a_sentence(toy_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GankitError, match="could not be written: Not a directory"):
        RunDir.create(toy_recipe(), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("name", "reason"), [("gone", "it does not exist"), (".", "it has no recipe.toml"), ("file", "it is a file")]
)
def test_only_a_run_can_be_opened(tmp_path, name, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"is not a run directory: {reason}"):
        RunDir.open(tmp_path / name)


LOCKED = """
import sys
from gankit.errors import InputError
from gankit.storage.run_dir import RunDir
try:
    RunDir.open(sys.argv[1]).lock()
except InputError as error:
    print(error)
"""


def test_a_second_process_is_kept_out_until_the_first_ends(play, go_on, toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path / "run")
    told = subprocess.run([sys.executable, "-c", LOCKED, directory.path], capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == f"{directory.path}: another process is at work on this run; wait for it or stop it"
    with pytest.raises(InputError, match="another process is at work"):
        go_on("run")
    with pytest.raises(InputError, match="a run is there already"):
        play("run")
    directory.release()
    go_on("run")


def _hold(path, ready):
    directory = RunDir(path)
    directory.lock()
    ready.set()
    multiprocessing.Event().wait()


def test_a_killed_process_holds_nothing(toy_recipe, tmp_path):
    directory = RunDir.create(toy_recipe(), tmp_path)
    directory.release()
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    holder = fork.Process(target=_hold, args=(tmp_path, ready), daemon=True)
    holder.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match="another process"):
        RunDir(tmp_path).lock()
    holder.kill()
    holder.join()
    holder.close()
    RunDir(tmp_path).lock()


def rows(*iterations):
    return [{"iteration": n, "loss": n * 1.5} for n in iterations]


def test_the_log_is_rewound_and_the_leftovers_go(tmp_path):
    directory = RunDir(tmp_path)
    for row in rows(1, 2, 3, 4):
        directory.log(row)
    with open(directory.log_file, "a") as file:
        file.write('{"iteration": 5, "lo')
    for name in ("samples", "checkpoints", "checkpoints/.tmp-000004"):
        (tmp_path / name).mkdir()
    for name in (
        "samples/.tmp-000003.png",
        ".tmp-recipe.toml",
        "checkpoints/.tmp-000004/state.json",
        "samples/000003.png",
    ):
        (tmp_path / name).write_text("half")
    assert directory.read_log() == rows(1, 2, 3, 4)
    directory.rewind(2)
    assert directory.read_log() == rows(1, 2)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["000003.png", "checkpoints", "log.jsonl", "samples"]
    directory.log(rows(3)[0])
    assert [json.loads(line) for line in directory.log_file.read_text().splitlines()] == rows(1, 2, 3)


def test_a_resumed_log_has_each_line_once(play, go_on):
    run = play(train={"iterations": 5}, output={"log_every": 2, "checkpoint_every": 3})
    (run.path / "checkpoints" / "000005" / "state.json").unlink()
    again = go_on("run")
    assert again.told.sentences[-1].endswith("000003")
    assert [row["iteration"] for row in RunDir(run.path).read_log()] == [2, 4, 5]


@pytest.mark.parametrize(("keep", "left"), [(1, ["000012"]), (2, ["000009", "000012"]), (9, None)])
def test_the_last_few_checkpoints_are_kept(tmp_path, keep, left):
    directory = RunDir(tmp_path)
    every = [f"{n:06d}" for n in range(0, 13, 3)]
    for name in every:
        directory.checkpoint(int(name)).mkdir(parents=True)
    directory.prune(keep)
    assert sorted(p.name for p in directory.checkpoints.iterdir()) == (left or every)


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path):
    directory = RunDir(tmp_path)
    for number in (999_999, 1_000_000, 5):
        directory.checkpoint(number).mkdir(parents=True)
    assert [p.name for p in directory.saved_checkpoints()] == ["000005", "999999", "1000000"]


def test_the_newest_grid(tmp_path):
    directory = RunDir(tmp_path)
    assert directory.newest_grid() is None
    for number in (5, 1_000_000, 999_999):
        directory.save_grid(Image.new("L", (2, 2)), number)
    (tmp_path / "samples" / "2000000 (copy).png").write_text("")
    assert directory.newest_grid().name == "1000000.png"


def test_what_runs_is_on_record(play, toys):
    run = play(seed=3)
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


def test_a_plugin_of_another_version_is_told(play, go_on, shelf):
    run = play()
    record = json.loads((run.path / "environment.json").read_text())
    record["plugins"]["generator"]["version"] = "0.9"
    (run.path / "environment.json").write_text(json.dumps(record))
    told = go_on("run").told.sentences
    assert told[0] == "generator: it was G of toys 0.9 when the run was last played, and is G of toys 1.0 now"
    # Compared with the time before, and not with the first: nothing has changed since.
    assert go_on("run").told.sentences[0].startswith("resuming from")
    (run.path / "environment.json").write_text("{")
    assert go_on("run").told.sentences[0].startswith("resuming from")


def test_a_plugin_whose_source_changed_is_told():
    def record(digest, **where):
        found = {"use": "./x.py:X", "distribution": "", "version": "", "origin": "/home/x.py:X", "sha256": digest}
        return {"tricks.x": found | where}

    assert changed_plugins({"plugins": record("1")}, record("1")) == []
    assert changed_plugins({"plugins": record("1")}, record("2")) == [
        "tricks.x: the source of /home/x.py:X has changed since the run was last played"
    ]
    installed = {"use": "x", "distribution": "kit", "version": "1.5"}
    assert changed_plugins({"plugins": record("1", **installed)}, record("2", **installed)) == [
        "tricks.x: the source of x of kit 1.5 has changed since the run was last played"
    ]
    assert changed_plugins({"plugins": record("1")}, record("1", **installed)) == [
        "tricks.x: it was /home/x.py:X when the run was last played, and is x of kit 1.5 now"
    ]
    assert changed_plugins({"plugins": record("1")}, {}) == []


# What a resumed run may change


def test_a_run_goes_on_for_longer(play, go_on):
    run = play()
    again = go_on("run", "train.iterations=8", "output.log_every=1")
    assert again.told.outcome.iterations == 8
    assert "iterations = 8" in (run.path / "recipe.toml").read_text()
    assert again.told.played_iterations == [7, 8]


def test_a_finished_run_says_so(play, go_on):
    run = play()
    again = go_on("run")
    assert again.told.sentences[-1] == "the run is complete: 6 iterations; train.iterations=N goes on"
    assert again.generator == run.generator


@pytest.mark.parametrize("override", ["seed=3", "train.batch_size=4", "generator.width=9", "tricks.x.use=Wander"])
def test_what_decides_what_is_learnt_cannot_be_changed(play, go_on, override):
    run = play()
    before = (run.path / "recipe.toml").read_bytes()
    with pytest.raises(InputError, match=r"a resumed run keeps its recipe; only train\.iterations, train\.device and"):
        go_on("run", override)
    assert (run.path / "recipe.toml").read_bytes() == before


def test_nothing_is_written_for_a_recipe_that_cannot_be_played(play, tmp_path):
    with pytest.raises(InputError):
        play(data={"count": 0})
    with pytest.raises(InputError):
        play(train={"class_balanced": True, "batch_size": 5})
    assert not (tmp_path / "run").exists()


def test_the_device_that_was_asked_for_is_on_record(toy_recipe, tmp_path):
    from gankit import Recipe
    from gankit.training.launch import start
    from gankit.training.reporter import Reporter

    recipe = toy_recipe(train={"device": "auto", "iterations": 1})
    directory, _ = start(recipe, tmp_path / "out", Reporter(), device="cpu")
    assert Recipe.load(directory.recipe_file).train.device == "cpu"


def test_plugins_from_files_are_kept_as_they_were(toy_recipe, tmp_path):
    (tmp_path / "mine.py").write_text("from gankit import Plugin\nclass Mine(Plugin):\n    name = 'mine'\n")
    recipe = toy_recipe(tricks={"mine": {"use": "./mine.py:Mine"}})
    directory = RunDir.create(recipe, tmp_path / "run")
    kept = {path.name: path.read_text() for path in (directory.path / "sources").iterdir()}
    assert kept == {"mine.py": (tmp_path / "mine.py").read_text()}
    assert not (RunDir.create(toy_recipe(), tmp_path / "plain").path / "sources").exists()
