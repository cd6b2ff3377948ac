"""Scheduler of an ablation study. It starts or resumes each run that is not finished, and handles runs that fail."""

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

POLL_SECONDS = 0.1  # interval, in seconds, at which `run_study` checks the state of the runs

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

    def stop(self) -> None:
        """Request that all runs write a checkpoint and end."""

    def kill(self) -> None:
        """Kill all runs immediately, without waiting for checkpoints."""


class StudyReporter:
    """Base class of the progress displays of a study. By default, all methods do nothing.

    `run_study` calls the methods of this class.
    """

    def polled(self, running: list[StudyRun]) -> None:
        """Update the display. `run_study` calls this method every `POLL_SECONDS` seconds.

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
    """Result of `run_study`: the runs that failed or were stopped, and whether the study ended early."""

    failures: list[Failure]
    stopped: list[StudyRun]  # runs that were stopped before they were complete

    interrupted: bool  # True if a signal, such as Ctrl-C, ended the study before all runs were complete

    aborted: bool  # True if the study ended early because runs with and without a trick failed with the same error


def run_study(study: Study, executor: Executor, reporter: StudyReporter) -> StudyEnding:
    """Train all runs of a study that have not ended.

    A run whose loss or parameters became NaN or infinite counts as ended. If one run fails with another error, all
    other runs continue. If a run with a trick and a run without it fail with the same error, all runs are stopped.
    """
    waiting = deque(run for run in study.runs if run.outcome() is None)
    submitted: set[StudyRun] = set()
    failures: list[Failure] = []
    stopped: list[StudyRun] = []
    recent_failures: list[Failure] = []
    stopping = aborted = False
    try:
        with Interrupt(reporter.stopping) as interrupt:
            while submitted or (waiting and not stopping):
                aborted = aborted or fails_without_trick(recent_failures, study.base)
                if (interrupt.requested or aborted) and not stopping:
                    executor.stop()
                    stopping = True
                while waiting and not stopping and executor.has_room():
                    submitted.add(waiting[0])
                    executor.start(waiting.popleft())
                for run, result in executor.ended():
                    submitted.remove(run)
                    if (outcome := run.outcome()) is not None:
                        recent_failures.clear()
                        reporter.ended(run, outcome)
                    elif stopping and result in STOP_CODES:
                        stopped.append(run)
                    else:
                        error = result if isinstance(result, GankitError) else _process_error(run, result)
                        failures.append(Failure(run, error))
                        recent_failures.append(failures[-1])
                        reporter.failed(run, error)
                reporter.polled(executor.running())
                time.sleep(POLL_SECONDS)
    finally:
        executor.kill()
    left = bool(waiting or stopped)
    return StudyEnding(failures, stopped, interrupt.requested and left, aborted and left)


def fails_without_trick(recent_failures: Sequence[Failure], base: Variant) -> bool:
    """Return True if a run of the base variant and a run of another variant failed with the same error.

    The two variants differ only in a trick, so the trick does not cause the error. An error with another cause, such as
    a full disk, would probably stop all other runs too.
    """
    base_errors = {_error_kind(failure) for failure in recent_failures if failure.run.variant == base}
    return any(_error_kind(failure) in base_errors for failure in recent_failures if failure.run.variant != base)


def _error_kind(failure: Failure) -> str:
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
