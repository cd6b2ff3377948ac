"""The scheduler with a fake executor, whose runs end as the test says."""

import json
import os
import signal

import pytest

from gankit import GankitError, InputError, Recipe
from gankit.ablation import scheduler
from gankit.ablation.scheduler import StudyReporter, combined_error, run_study
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import INTERRUPTED
from gankit.recipe.bundled import find_recipe

FULL = "the disk is full: {path}/checkpoints/000100 could not be written (No space left); everything before is whole"
"""Message of a run's process."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)


@pytest.fixture
def study(tmp_path):
    recipe = Recipe.load(find_recipe("gaussian_ring"))
    return Study(tmp_path / "s", add_each(recipe, ["packing", "r1", "dragan"]), [0, 1], 1)


class FakeExecutor:
    """Executor that ends each run at once, one at a time.

    Args:
        result: maps a run to its result: None for success, an exit code, a message, an error, or "running".
    """

    def __init__(self, result):
        self.result, self.current, self.started = result, None, []

    def has_room(self):
        return self.current is None

    def start(self, run):
        self.current = run
        self.started.append(run.name)

    def running(self):
        return [self.current] if self.current else []

    def ended(self):
        run, self.current = self.current, None
        result = self.result(run) if run else None
        if run is None or result == "running":
            self.current = run
            return []
        if result is None:
            run.path.mkdir(parents=True)
            run.outcome_file.write_text(json.dumps({"iterations": 1, "stop_reason": None, "failed": None}))
        elif isinstance(result, str):
            run.output_file.parent.mkdir(parents=True, exist_ok=True)
            run.output_file.write_text(f"error: {result.format(path=run.path)}\n")
            result = 1
        return [(run, result or 0)]

    def stop(self):
        self.result = lambda run: INTERRUPTED

    def kill(self):
        pass


class RecordingReporter(StudyReporter):
    """Reporter that keeps all events."""

    def __init__(self):
        self.ended_runs, self.failures = [], []

    def ended(self, run, outcome):
        self.ended_runs.append(run.name)

    def failed(self, run, error):
        self.failures.append((run.name, str(error)))


def only(folder, result):
    """Return a function with this result for the runs of a variant, and success for all others."""
    return lambda run: result if run.variant.folder == folder else None


def test_the_other_runs_are_trained_after_a_failure(study):
    executor, reporter = FakeExecutor(only("with-r1", "a bug")), RecordingReporter()
    end = run_study(study, executor, reporter)
    assert len(executor.started) == 8
    assert len(reporter.ended_runs) == 6
    assert (end.stopped, end.interrupted, end.aborted) == ([], False, False)
    assert [failure.run.name for failure in end.failures] == ["with r1, seed 0", "with r1, seed 1"]
    error = combined_error(end.failures)
    assert (type(error), error.exit_code) == (GankitError, 1)
    first, second = str(error).splitlines()
    assert first.startswith("with r1, seed 0: a bug (")
    assert first.endswith(f"; after a fix, `gankit ablate {study.path}` trains it again")
    assert second.startswith("with r1, seed 1: a bug (")


def test_only_failed_runs_are_trained_again(study):
    run_study(study, FakeExecutor(only("with-r1", "a bug")), RecordingReporter())
    executor = FakeExecutor(lambda run: None)
    end = run_study(study, executor, RecordingReporter())
    assert executor.started == ["with r1, seed 0", "with r1, seed 1"]
    assert end.failures == []


def test_equal_failures_of_two_tricks_do_not_abort_the_study(study):
    """Two tricks may need too much memory, for example."""
    executor = FakeExecutor(lambda run: None if run.variant.folder in ("recipe", "with-packing") else "out of memory")
    end = run_study(study, executor, RecordingReporter())
    assert (len(end.failures), end.aborted) == (4, False)


@pytest.mark.parametrize("result", [FULL, -signal.SIGKILL, GankitError("Ray lost the run: the machine is gone")])
def test_equal_failures_with_and_without_a_trick_abort_the_study(study, result):
    executor = FakeExecutor(lambda run: result)
    end = run_study(study, executor, RecordingReporter())
    assert (end.aborted, end.interrupted) == (True, False)
    assert [failure.run.name for failure in end.failures] == ["recipe, seed 0", "with packing, seed 0"]
    assert executor.started == ["recipe, seed 0", "with packing, seed 0"]


def test_a_success_between_equal_failures_does_not_abort_the_study(study):
    results = {"recipe, seed 0": "a bug", "with r1, seed 0": "a bug", "with dragan, seed 0": "a bug"}
    end = run_study(study, FakeExecutor(lambda run: results.get(run.name)), RecordingReporter())
    assert (len(end.failures), end.aborted) == (3, False)


def test_failures_are_wrong_input_only_if_all_of_them_are(study):
    end = run_study(study, FakeExecutor(lambda run: InputError("no such machine")), RecordingReporter())
    assert isinstance(combined_error(end.failures), InputError)
    bug = run_study(
        study,
        FakeExecutor(lambda run: GankitError("a bug") if run.variant.trick else InputError("no")),
        RecordingReporter(),
    )
    assert type(combined_error(bug.failures)) is GankitError


def test_a_stopped_run_is_not_a_failure(study):
    """SIGTERM ends a run that has not installed its signal handler yet."""
    executor = FakeExecutor(lambda run: "running")
    results = {"recipe, seed 0": "a bug"}

    class Interrupting(RecordingReporter):
        def polled(self, running):
            if len(executor.started) == 1 and not sent:
                sent.append(True)
                os.kill(os.getpid(), signal.SIGINT)

    sent = []
    executor.stop = lambda: setattr(executor, "result", lambda run: results.get(run.name, INTERRUPTED))
    reporter = Interrupting()
    end = run_study(study, executor, reporter)
    assert (end.interrupted, end.stopped) == (True, [])
    assert [name for name, _ in reporter.failures] == ["recipe, seed 0"]

    for code in (INTERRUPTED, -signal.SIGTERM):
        sent.clear()
        executor.started.clear()
        executor.result, results["recipe, seed 0"] = (lambda run: "running"), code
        end = run_study(study, executor, Interrupting())
        assert ([run.name for run in end.stopped], end.failures) == (["recipe, seed 0"], [])


def test_a_signal_after_the_last_run_does_not_interrupt_the_study(study):
    class Interrupting(RecordingReporter):
        def ended(self, run, outcome):
            super().ended(run, outcome)
            if len(self.ended_runs) == 8:
                os.kill(os.getpid(), signal.SIGINT)

    assert not run_study(study, FakeExecutor(lambda run: None), Interrupting()).interrupted
