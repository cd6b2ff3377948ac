"""The worker, in this process: runs that are resumed, started again, or complete."""

import json

import pytest

from gankit import Plugin, hookimpl
from gankit.ablation.worker import train_run
from gankit.storage.run_dir import RunDir


class Bug(Plugin):
    """Plugin that fails in the fifth iteration until it is fixed."""

    name = "Bug"
    fixed = False

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 5 and not self.fixed:
            raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(("tricks", "iterations"), [({}, 6), ({"Stopper": {}}, 5)])
def test_a_run_with_a_recorded_ending_is_not_trained_again(toy_recipe, tmp_path, tricks, iterations):
    """The worker may be killed before it writes the outcome. A run that a plugin stopped must not continue."""
    file, path = tmp_path / "recipe.toml", tmp_path / "seed-7"
    file.write_text(toy_recipe(tricks=tricks).to_toml())
    # The empty folder of a run that was killed at its start.
    path.mkdir()
    (path / ".lock").touch()
    outcome = train_run(file, 7, path)
    assert outcome["iterations"] == iterations
    assert (outcome["stop_reason"] is not None) == bool(tricks)
    before = {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    assert train_run(file, 7, path) == outcome
    assert before == {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    assert "seed = 7\n" in (path / "recipe.toml").read_text()


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_is_started_again_after_a_change_of_a_plugin(toy_recipe, shelf, tmp_path, monkeypatch, changed):
    shelf.add(Bug)
    file, path = tmp_path / "recipe.toml", tmp_path / "seed-0"
    file.write_text(toy_recipe(tricks={"Bug": {}}).to_toml())
    with pytest.raises(ZeroDivisionError):
        train_run(file, 0, path)
    monkeypatch.setattr(Bug, "fixed", True)
    if changed:
        record = path / "environment.json"
        environment = json.loads(record.read_text())
        environment["plugins"]["tricks.Bug"]["sha256"] = "digest of another version"
        record.write_text(json.dumps(environment))
    assert train_run(file, 0, path)["iterations"] == 6
    assert [process.get("from") for process in RunDir(path).read_processes()] == ([None] if changed else [None, 4])
