"""A run of a study, played in this process: what is gone on with, what is begun anew, what is over."""

import json

import pytest

from gankit import Plugin, hookimpl
from gankit.ablation.worker import play
from gankit.storage.run_dir import RunDir


class Bug(Plugin):
    """Fails in the fifth iteration, until it is mended."""

    name = "Bug"
    mended = False

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 5 and not self.mended:
            raise ZeroDivisionError("a bug")


@pytest.fixture
def recipe_file(toy_recipe, tmp_path):
    """A recipe as a study leaves it."""

    def write(**changes):
        file = tmp_path / "recipe.toml"
        file.write_text(toy_recipe(**changes).to_toml())
        return file

    return write


@pytest.mark.parametrize(("tricks", "iterations"), [({}, 6), ({"Stopper": {}}, 5)])
def test_a_run_whose_end_is_on_record_is_over(recipe_file, tmp_path, tricks, iterations):
    """A study that was killed before it had the outcome. What a plugin has stopped would play on."""
    file, path = recipe_file(tricks=tricks), tmp_path / "seed-7"
    outcome = play(file, 7, path)
    assert outcome["iterations"] == iterations
    assert (outcome["stop_reason"] is not None) == bool(tricks)
    before = {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    assert play(file, 7, path) == outcome
    assert before == {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    assert "seed = 7\n" in (path / "recipe.toml").read_text()


def test_killed_before_there_was_anything_it_begins(recipe_file, tmp_path):
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / ".lock").touch()
    assert play(recipe_file(), 0, tmp_path / "seed-0")["iterations"] == 6


@pytest.mark.parametrize("changed", [False, True])
def test_with_a_plugin_that_was_mended_it_begins_anew(recipe_file, shelf, tmp_path, monkeypatch, changed):
    shelf.add(Bug)
    file, path = recipe_file(tricks={"Bug": {}}), tmp_path / "seed-0"
    with pytest.raises(ZeroDivisionError):
        play(file, 0, path)
    monkeypatch.setattr(Bug, "mended", True)
    if changed:
        record = path / "environment.json"
        environment = json.loads(record.read_text())
        environment["plugins"]["tricks.Bug"]["sha256"] = "of its source as it was"
        record.write_text(json.dumps(environment))
    assert play(file, 0, path)["iterations"] == 6
    assert [process.get("from") for process in RunDir(path).read_processes()] == ([None] if changed else [None, 4])
