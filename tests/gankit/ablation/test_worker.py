"""The worker: runs that are resumed, started again, or complete, in this process; the reason of a failed process."""

import json

import pytest

from gankit import Plugin, Recipe, hookimpl
from gankit.ablation.local_executor import LocalExecutor
from gankit.ablation.scheduler import StudyReporter, run_study
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import train_run
from gankit.storage.run_dir import RunDir


class Bug(Plugin):
    """Plugin that warns in the fourth iteration, and fails in the fifth until it is fixed."""

    name = "Bug"
    fixed = False

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 4:
            run.warn("a warning")
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


def test_the_reason_of_a_failed_process_is_its_error_and_not_a_warning(toy_file, tmp_path, monkeypatch):
    """PYTHONUNBUFFERED is unset, because stdout would have no buffer with it, and the test would always pass."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    recipe = Recipe.load(toy_file(tricks={"Bug": {"use": f"{__file__}:Bug"}}))
    study = Study(tmp_path / "s", add_each(recipe, []), [0], 1)
    study.write()
    (failure,) = run_study(study, LocalExecutor(1, 1, []), StudyReporter()).failures
    assert "a warning\n" in failure.run.output_file.read_text()
    assert str(failure.error).startswith("ZeroDivisionError: a bug (full output: ")
