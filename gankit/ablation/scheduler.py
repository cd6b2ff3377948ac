"""Scheduler of a study: trains all runs that have no outcome yet."""

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
from gankit.runtime.signals import Interrupt

POLL_SECONDS = 0.1  # seconds between two checks on the runs

STOP_CODES = (INTERRUPTED, -signal.SIGTERM)
"""Exit codes of a run that was stopped, with a checkpoint or before the training started."""


class Executor(Protocol):
    """Executor that trains runs, each in its own process."""

    def has_room(self) -> bool:
        """Return whether another run can be started."""

    def start(self, run: StudyRun) -> None:
        """Start a run, or submit it to a queue."""

    def running(self) -> list[StudyRun]:
        """Return the runs that are training, without those in a queue."""

    def ended(self) -> Sequence[tuple[StudyRun, int | GankitError]]:
        """Return the runs that ended since the last call, each with its exit code, or an error if it has none."""

    def stop(self) -> None:
        """Request that all runs write a checkpoint and end."""

    def kill(self) -> None:
        """End all runs at once."""


class StudyReporter:
    """Base of displays of a study: methods that are called at its events and do nothing."""

    def polled(self, running: list[StudyRun]) -> None:
        """Update the display. Called every `POLL_SECONDS` with the runs that are training."""

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        """Show that a run has ended with an outcome."""

    def failed(self, run: StudyRun, error: GankitError) -> None:
        """Show that a run has ended with an error."""

    def stopping(self) -> None:
        """Show that a signal stops all runs. Called from the signal handler."""


@dataclass(frozen=True)
class Failure:
    """A run that ended with an error. It has no outcome, so a resumed study trains it again."""

    run: StudyRun
    error: GankitError


@dataclass(frozen=True)
class StudyEnding:
    """State of a study after `run_study`."""

    failures: list[Failure]
    stopped: list[StudyRun]  # runs that were stopped before their end

    interrupted: bool  # True if a signal ended the study early

    aborted: bool  # True if the study ended early because the other runs would fail too


def run_study(study: Study, executor: Executor, reporter: StudyReporter) -> StudyEnding:
    """Train all runs that have no outcome yet.

    A run that became NaN has an outcome. After any other error, the study goes on with the other runs, until runs with
    and without a trick have failed with the same error.
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
    """Return whether a run of the base variant and one of another variant failed with the same error.

    The trick is then not the cause, but for example the disk or the data, so all other runs would fail too.
    """
    base_errors = {_error_kind(failure) for failure in recent_failures if failure.run.variant == base}
    return any(_error_kind(failure) in base_errors for failure in recent_failures if failure.run.variant != base)


def _error_kind(failure: Failure) -> str:
    """Return the error message without the paths and numbers that differ between runs."""
    folder = failure.run.variant.folder
    text = str(failure.error).replace(f"{folder}/seed-", "").replace(f"{folder}.toml", "")
    return re.sub(r"\d+", "", text)


def combined_error(failures: Sequence[Failure]) -> GankitError:
    """Return an error with a line for each failure. It is an InputError if all of them are."""
    wrong_input = all(isinstance(failure.error, InputError) for failure in failures)
    lines = [
        f"{failure.run.name}: {failure.error}; after a fix, `gankit ablate {failure.run.study}` trains it again"
        for failure in failures
    ]
    return (InputError if wrong_input else GankitError)("\n".join(lines))


def _process_error(run: StudyRun, code: int) -> GankitError:
    """Return the error of a process that ended without an outcome, from its exit code and its output."""
    file = run.output_file
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == InputError.exit_code and errors:
        return InputError(" ".join(errors))
    if code < 0 or code == INTERRUPTED:
        signal_name = f"signal {-code}" if code < 0 else "a signal"
        return GankitError(f"its process was stopped by {signal_name}; fewer --jobs need less memory")
    reason = " ".join(errors) or (lines[-1] if lines else f"its process ended with exit code {code}")
    return GankitError(f"{reason} (full output: {file})")
