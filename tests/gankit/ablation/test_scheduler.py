"""A study conducted where runs end as the test says."""

import json
import os
import signal

import pytest

from gankit import GankitError, InputError, Recipe
from gankit.ablation.scheduler import run_study, told
from gankit.ablation.scheduler import run_study as conducting
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import INTERRUPTED
from gankit.recipe.bundled import find_recipe

FULL = "the disk is full: {path}/checkpoints/000100 could not be written (No space left); everything before is whole"
"""As a run's process says it."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(conducting, "LOOK_EVERY", 0.0)


@pytest.fixture
def study(tmp_path):
    recipe = Recipe.load(find_recipe("gaussian_ring"))
    return Study(tmp_path / "s", add_each(recipe, ["packing", "r1", "dragan"]), [0, 1], 1)


class Scripted:
    """Runs that end at once, one at a time, each as `how` says: None for well, a code, what it says, or an error."""

    def __init__(self, how):
        self.how, self.playing, self.started = how, None, []

    def has_room(self):
        return self.playing is None

    def start(self, run):
        self.playing = run
        self.started.append(run.name)

    def running(self):
        return [self.playing] if self.playing else []

    def ended(self):
        run, self.playing = self.playing, None
        how = self.how(run) if run else None
        if run is None or how == "goes on":
            self.playing = run
            return []
        if how is None:
            run.path.mkdir(parents=True)
            run.outcome_file.write_text(json.dumps({"iterations": 1, "stop_reason": None, "broke_down": None}))
        elif isinstance(how, str):
            run.said_file.parent.mkdir(parents=True, exist_ok=True)
            run.said_file.write_text(f"error: {how.format(path=run.path)}\n")
            how = 1
        return [(run, how or 0)]

    def stop(self):
        self.how = lambda run: INTERRUPTED

    def kill(self):
        pass


class Told:
    """What a study's watcher was told."""

    def __init__(self):
        self.over, self.failures = [], []

    def ended(self, run, outcome):
        self.over.append(run.name)

    def failed(self, run, error):
        self.failures.append((run.name, str(error)))

    def look(self, running):
        pass

    def stopping(self):
        pass


def only(folder, how):
    """That runs of a variant end so, and all others well."""
    return lambda run: how if run.variant.folder == folder else None


def test_runs_that_fail_do_not_keep_the_others_from_being_played(study):
    place, watcher = Scripted(only("with-r1", "a bug")), Told()
    end = run_study(study, place, watcher)
    assert len(place.started) == 8
    assert len(watcher.over) == 6
    assert (end.cut_short, end.interrupted, end.given_up) == ([], False, False)
    assert [failure.run.name for failure in end.failures] == ["with r1, seed 0", "with r1, seed 1"]
    error = told(end.failures)
    assert (type(error), error.exit_code) == (GankitError, 1)
    first, second = str(error).splitlines()
    assert first.startswith("with r1, seed 0: a bug (")
    assert first.endswith(f"; when it is mended, `gankit ablate {study.path}` plays it again")
    assert second.startswith("with r1, seed 1: a bug (")


def test_what_failed_is_played_again_and_nothing_else(study):
    run_study(study, Scripted(only("with-r1", "a bug")), Told())
    place = Scripted(lambda run: None)
    end = run_study(study, place, Told())
    assert place.started == ["with r1, seed 0", "with r1, seed 1"]
    assert end.failures == []


def test_tricks_that_fail_alike_are_still_tricks_that_fail(study):
    """Two that take too much memory, for instance."""
    place = Scripted(lambda run: None if run.variant.folder in ("recipe", "with-packing") else "out of memory")
    end = run_study(study, place, Told())
    assert (len(end.failures), end.given_up) == (4, False)


@pytest.mark.parametrize("how", [FULL, -signal.SIGKILL, GankitError("Ray lost it: the machine is gone")])
def test_what_no_trick_does_ends_the_study(study, how):
    """With a trick and without one, runs fail alike: a hundred more would."""
    place = Scripted(lambda run: how)
    end = run_study(study, place, Told())
    assert (end.given_up, end.interrupted) == (True, False)
    assert [failure.run.name for failure in end.failures] == ["recipe, seed 0", "with packing, seed 0"]
    assert place.started == ["recipe, seed 0", "with packing, seed 0"]


def test_a_run_that_comes_to_its_end_between_them_tells_that_runs_can(study):
    hows = {"recipe, seed 0": "a bug", "with r1, seed 0": "a bug", "with dragan, seed 0": "a bug"}
    end = run_study(study, Scripted(lambda run: hows.get(run.name)), Told())
    assert (len(end.failures), end.given_up) == (3, False)


def test_wrong_input_throughout_is_wrong_input(study):
    end = run_study(study, Scripted(lambda run: InputError("no such machine")), Told())
    assert isinstance(told(end.failures), InputError)
    bug = run_study(
        study, Scripted(lambda run: GankitError("a bug") if run.variant.trick else InputError("no")), Told()
    )
    assert type(told(bug.failures)) is GankitError


def test_after_a_signal_only_what_was_asked_to_end_is_no_failure(study):
    """`SIGTERM` is what reaches a run before it listens."""
    place = Scripted(lambda run: "goes on")
    hows = {"recipe, seed 0": "a bug"}

    class Interrupting(Told):
        def look(self, running):
            if len(place.started) == 1 and not asked:
                asked.append(True)
                os.kill(os.getpid(), signal.SIGINT)

    asked = []
    place.stop = lambda: setattr(place, "how", lambda run: hows.get(run.name, INTERRUPTED))
    watcher = Interrupting()
    end = run_study(study, place, watcher)
    assert (end.interrupted, end.cut_short) == (True, [])
    assert [name for name, _ in watcher.failures] == ["recipe, seed 0"]

    for code in (INTERRUPTED, -signal.SIGTERM):
        asked.clear()
        place.started.clear()
        place.how, hows["recipe, seed 0"] = (lambda run: "goes on"), code
        end = run_study(study, place, Interrupting())
        assert ([run.name for run in end.cut_short], end.failures) == (["recipe, seed 0"], [])


def test_a_signal_that_came_too_late_interrupted_nothing(study):
    class Interrupting(Told):
        def ended(self, run, outcome):
            super().ended(run, outcome)
            if len(self.over) == 8:
                os.kill(os.getpid(), signal.SIGINT)

    assert not run_study(study, Scripted(lambda run: None), Interrupting()).interrupted
