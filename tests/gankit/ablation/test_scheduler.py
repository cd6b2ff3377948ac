"""The scheduler with a fake executor, whose runs end as the test says."""

import json
import os
import signal
from unittest.mock import Mock

import pytest

from gankit import GankitError, InputError, Recipe
from gankit.ablation import scheduler
from gankit.ablation.scheduler import Failure, StudyReporter, combined_error, run_study
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import INTERRUPTED
from gankit.recipe.bundled import find_recipe

FULL = "the disk is full: {path}/checkpoints/000100 could not be written (No space left); everything before is whole"
"""Message of a run's process."""


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)
    recipe = Recipe.load(find_recipe("gaussian_ring"))
    return Study(tmp_path / "s", add_each(recipe, ["packing", "r1", "dragan"]), [0, 1], 1)


def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)


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

    def stop(self, run):
        self.result = lambda run: INTERRUPTED

    def kill(self):
        pass


def test_the_other_runs_are_trained_after_a_failure(study):
    executor = FakeExecutor(lambda run: "a bug" if run.variant.trick == "r1" else None)
    reporter = Mock(spec=StudyReporter)
    end = run_study(study, executor, reporter)
    assert len(executor.started) == 8
    assert reporter.ended.call_count == 6
    assert [call.args for call in reporter.failed.call_args_list] == [(one.run, one.error) for one in end.failures]
    assert (end.stopped, end.interrupted, end.aborted) == ([], False, False)
    error = combined_error(end.failures)
    assert (type(error), error.exit_code) == (GankitError, 1)
    first, second = str(error).splitlines()
    assert first.startswith("with r1, seed 0: a bug (")
    assert first.endswith(f"; after a fix, `gankit ablate {study.path}` trains it again")
    assert second.startswith("with r1, seed 1: a bug (")

    again = FakeExecutor(lambda run: None)
    assert run_study(study, again, StudyReporter()).failures == []
    assert again.started == ["with r1, seed 0", "with r1, seed 1"]


@pytest.mark.parametrize(
    "failing",
    [
        # Two tricks may need too much memory, for example.
        [f"with {trick}, seed {seed}" for trick in ("r1", "dragan") for seed in (0, 1)],
        # The run with packing succeeds between the failures.
        ["recipe, seed 0", "with r1, seed 0", "with dragan, seed 0"],
    ],
)
def test_equal_failures_that_do_not_abort_the_study(study, failing):
    executor = FakeExecutor(lambda run: "out of memory" if run.name in failing else None)
    end = run_study(study, executor, StudyReporter())
    assert (len(end.failures), end.aborted) == (len(failing), False)


@pytest.mark.parametrize("result", [FULL, -signal.SIGKILL, GankitError("Ray lost the run: the machine is gone")])
def test_equal_failures_with_and_without_a_trick_abort_the_study(study, result):
    executor = FakeExecutor(lambda run: result)
    end = run_study(study, executor, StudyReporter())
    assert (end.aborted, end.interrupted) == (True, False)
    assert [failure.run.name for failure in end.failures] == ["recipe, seed 0", "with packing, seed 0"]
    assert executor.started == ["recipe, seed 0", "with packing, seed 0"]


def test_failures_are_wrong_input_only_if_all_of_them_are(study):
    wrong, bug = Failure(study.runs[0], InputError("no such machine")), Failure(study.runs[1], GankitError("a bug"))
    assert isinstance(combined_error([wrong]), InputError)
    assert type(combined_error([wrong, bug])) is GankitError


@pytest.mark.parametrize(
    ("result", "stopped"),
    # SIGTERM ends a run that has not installed its signal handler yet.
    [(INTERRUPTED, True), (-signal.SIGTERM, True), ("a bug", False)],
)
def test_a_stopped_run_is_not_a_failure(study, result, stopped):
    executor = FakeExecutor(lambda run: "running")
    executor.stop = lambda run: setattr(executor, "result", lambda run: result)
    reporter = Mock(spec=StudyReporter)
    reporter.polled.side_effect = lambda running: running and interrupt()
    end = run_study(study, executor, reporter)
    assert (end.interrupted, executor.started) == (True, ["recipe, seed 0"])
    assert ([run.name for run in end.stopped], len(end.failures)) == (executor.started * stopped, not stopped)


def test_a_signal_after_the_last_run_does_not_interrupt_the_study(study):
    reporter = Mock(spec=StudyReporter)
    reporter.ended.side_effect = lambda run, outcome: interrupt() if reporter.ended.call_count == 8 else None
    assert not run_study(study, FakeExecutor(lambda run: None), reporter).interrupted
    assert reporter.ended.call_count == 8
