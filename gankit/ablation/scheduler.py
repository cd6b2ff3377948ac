"""Scheduler of ablation studies and searches. It starts or resumes runs that are not finished, and handles failures."""

import re
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gankit.ablation.study import Study, StudyRun
from gankit.ablation.variants import Variant
from gankit.ablation.worker import INTERRUPTED
from gankit.errors import GankitError, InputError
from gankit.plugin.hooks import NOTE
from gankit.runtime.signals import Interrupt

POLL_SECONDS = 0.1  # interval, in seconds, at which `run_plan` checks the state of the runs

STOP_CODES = (INTERRUPTED, -signal.SIGTERM)
"""Exit codes of a run that the study stopped.

The code is INTERRUPTED if the run wrote a checkpoint, and -SIGTERM if its training had not started.
"""


class Executor(Protocol):
    """Interface of an executor, which trains each run of a study in a separate process."""

    def has_room(self) -> bool:
        """Return True if another run can be started now."""

    def start(self, run: StudyRun) -> None:
        """Start a run, or submit it to the queue of a cluster."""

    def running(self) -> list[StudyRun]:
        """Return the runs that are training. Runs that wait in a queue are not included."""

    def ended(self) -> Sequence[tuple[StudyRun, int | GankitError]]:
        """Return the runs that ended since the last call, each with the exit code of its process.

        A run that was lost, for example because its machine failed, is returned with an error instead of an exit code.
        """

    def stop(self, run: StudyRun) -> None:
        """Request that a run writes a checkpoint and ends."""

    def kill(self) -> None:
        """Kill all runs immediately, without waiting for checkpoints."""


class StudyReporter:
    """Base class of the progress displays of a study. By default, all methods do nothing.

    `run_plan` calls the methods of this class.
    """

    def polled(self, running: list[StudyRun]) -> None:
        """Update the display. `run_plan` calls this method every `POLL_SECONDS` seconds.

        `running` contains the runs that are training.
        """

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        """Show the outcome of a run: complete, ended early by a plugin, or failed with a NaN or infinite value."""

    def failed(self, run: StudyRun, error: GankitError) -> None:
        """Show the error of a run that has failed for a reason other than a NaN or infinite value."""

    def stopping(self) -> None:
        """Show a message that a signal, such as Ctrl-C, is stopping the study. The signal handler calls this method."""


@dataclass(frozen=True)
class Failure:
    """Run that failed for a reason other than a NaN or infinite value. A resumed study trains this run again."""

    run: StudyRun
    error: GankitError


@dataclass(frozen=True)
class StudyEnding:
    """Result of `run_plan`: the runs that failed or were stopped, and whether the study ended early."""

    failures: list[Failure]
    stopped: list[StudyRun]  # runs that were stopped before they were complete

    interrupted: bool  # True if a signal, such as Ctrl-C, ended the study before all runs were complete

    aborted: bool  # True if the plan ended the study early, because all other runs would probably fail too


class Plan(Protocol):
    """Interface of the plan of a study: which runs are trained, and when a run or the whole study is stopped."""

    def next_run(self) -> StudyRun | None:
        """Return the next run to start, or None if no run can be started now."""

    def is_complete(self) -> bool:
        """Return True if all runs have been started."""

    def runs_to_stop(self, running: list[StudyRun]) -> list[StudyRun]:
        """Return the running runs that must be stopped now because of their metrics so far."""

    def ended(self, run: StudyRun) -> dict[str, Any] | None:
        """Return the outcome of a run whose process has ended, or None if the run has failed or was interrupted."""

    def failed(self, failure: Failure) -> None:
        """Record a run that failed for a reason other than a NaN or infinite value."""

    def is_hopeless(self) -> bool:
        """Return True if the failures so far show that all other runs would probably fail too."""


class AblationPlan:
    """Plan of an ablation study: all runs that have not ended, in the order of the study.

    If a run with a trick and a run without it fail with the same error, all runs are stopped.
    """

    def __init__(self, study: Study) -> None:
        self.base = study.base
        self.waiting = deque(run for run in study.runs if run.outcome() is None)
        self.recent_failures: list[Failure] = []

    def next_run(self) -> StudyRun | None:
        return self.waiting.popleft() if self.waiting else None

    def is_complete(self) -> bool:
        return not self.waiting

    def runs_to_stop(self, running: list[StudyRun]) -> list[StudyRun]:
        return []

    def ended(self, run: StudyRun) -> dict[str, Any] | None:
        if (outcome := run.outcome()) is not None:
            self.recent_failures.clear()
        return outcome

    def failed(self, failure: Failure) -> None:
        self.recent_failures.append(failure)

    def is_hopeless(self) -> bool:
        return fails_without_trick(self.recent_failures, self.base)


def run_study(study: Study, executor: Executor, reporter: StudyReporter) -> StudyEnding:
    """Train all runs of an ablation study that have not ended. See `AblationPlan` and `run_plan`."""
    return run_plan(AblationPlan(study), executor, reporter)


def run_plan(plan: Plan, executor: Executor, reporter: StudyReporter) -> StudyEnding:
    """Train all runs of a plan.

    A run whose loss or parameters became NaN or infinite counts as ended. If one run fails with another error, all
    other runs continue, unless the plan is hopeless.
    """
    submitted: set[StudyRun] = set()
    failures: list[Failure] = []
    stopped: list[StudyRun] = []
    stopping = aborted = False
    try:
        with Interrupt(reporter.stopping) as interrupt:
            while submitted or not (stopping or plan.is_complete()):
                aborted = aborted or plan.is_hopeless()
                if (interrupt.requested or aborted) and not stopping:
                    for run in submitted:
                        executor.stop(run)
                    stopping = True
                while not stopping and executor.has_room() and (next_run := plan.next_run()) is not None:
                    submitted.add(next_run)
                    executor.start(next_run)
                for run, result in executor.ended():
                    submitted.remove(run)
                    if (outcome := plan.ended(run)) is not None:
                        reporter.ended(run, outcome)
                    elif stopping and result in STOP_CODES:
                        stopped.append(run)
                    else:
                        error = result if isinstance(result, GankitError) else _process_error(run, result)
                        failures.append(Failure(run, error))
                        plan.failed(failures[-1])
                        reporter.failed(run, error)
                running = executor.running()
                for run in plan.runs_to_stop(running):
                    executor.stop(run)
                reporter.polled(running)
                time.sleep(POLL_SECONDS)
    finally:
        executor.kill()
    left = bool(stopped) or not plan.is_complete()
    return StudyEnding(failures, stopped, interrupt.requested and left, aborted and left)


def fails_without_trick(recent_failures: Sequence[Failure], base: Variant) -> bool:
    """Return True if a run of the base variant and a run of another variant failed with the same error.

    The two variants differ only in a trick, so the trick does not cause the error. An error with another cause, such as
    a full disk, would probably stop all other runs too.
    """
    base_errors = {error_kind(failure) for failure in recent_failures if failure.run.variant == base}
    return any(error_kind(failure) in base_errors for failure in recent_failures if failure.run.variant != base)


def error_kind(failure: Failure) -> str:
    """Return the error message of a failure without paths and numbers, so that errors of two runs can be compared."""
    folder = failure.run.variant.folder
    text = str(failure.error).replace(f"{folder}/seed-", "").replace(f"{folder}.toml", "")
    return re.sub(r"\d+", "", text)


def combined_error(failures: Sequence[Failure]) -> GankitError:
    """Return one error whose message has a line for each failure.

    If all failures are InputErrors, the result is an InputError. Otherwise, it is a GankitError.
    """
    wrong_input = all(isinstance(failure.error, InputError) for failure in failures)
    lines = [
        f"{failure.run.name}: {failure.error}; after a fix, `gankit ablate {failure.run.study}` trains it again"
        for failure in failures
    ]
    return (InputError if wrong_input else GankitError)("\n".join(lines))


def _process_error(run: StudyRun, code: int) -> GankitError:
    """Return an error with the reason why a run failed, taken from the exit code and output of the run's process."""
    file = run.output_file
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == InputError.exit_code and errors:
        return InputError(" ".join(errors))
    if code < 0 or code == INTERRUPTED:
        signal_name = f"signal {-code}" if code < 0 else "a signal"
        return GankitError(f"its process was stopped by {signal_name}; fewer --jobs need less memory")
    lines = [line for line in lines if not line.startswith(NOTE)]
    reason = " ".join(errors) or (lines[-1] if lines else f"its process ended with exit code {code}")
    return GankitError(f"{reason} (full output: {file})")
