"""Plays what a study still lacks, wherever its runs are played."""

from __future__ import annotations

import re
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gankit.ablation.study import StudyRun, Study
from gankit.ablation.variants import Variant
from gankit.ablation.worker import INTERRUPTED
from gankit.errors import GankitError, InputError
from gankit.runtime.signals import Interrupt

LOOK_EVERY = 0.1
"""Seconds between looks at the runs."""

AS_ASKED = (INTERRUPTED, -signal.SIGTERM)
"""Exit codes of a run that was asked to stop: with a checkpoint, or before it had begun."""


class Place(Protocol):
    """Where runs are played."""

    def has_room(self) -> bool: ...

    def start(self, run: StudyRun) -> None: ...

    def running(self) -> list[StudyRun]:
        """Those that are being played; one that was started may still wait for its turn."""
        ...

    def ended(self) -> Sequence[tuple[StudyRun, int | GankitError]]:
        """Those that have ended since the last call, with their exit codes, or with why there is none."""
        ...

    def stop(self) -> None:
        """Asks all to write a checkpoint and end."""
        ...

    def kill(self) -> None:
        """Ends all at once."""
        ...


class Watcher(Protocol):
    """Who is told how the study is going."""

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None: ...

    def failed(self, run: StudyRun, error: GankitError) -> None:
        """It has ended without an outcome, and not because it was asked to."""
        ...

    def look(self, running: list[StudyRun]) -> None:
        """Called again and again."""
        ...

    def stopping(self) -> None:
        """A signal asks for the end. Called from the signal's handler."""
        ...


@dataclass(frozen=True)
class Failure:
    """A run that went wrong. It is no result: it is played again when the study is asked for again."""

    run: StudyRun
    error: GankitError


@dataclass(frozen=True)
class End:
    """How far a study came."""

    failures: list[Failure]
    cut_short: list[StudyRun]
    """Runs that ended before their time, because they were asked to."""

    interrupted: bool
    """Whether a signal asked for the end."""

    given_up: bool
    """Whether what is left was not played, since it would fail too."""


def run_study(study: Study, place: Place, watcher: Watcher) -> End:
    """Plays all runs that are not over yet.

    A game that breaks down is a result. Anything else that goes wrong (a setting that only shows in a run, a full
    disk, a bug) is none; the other runs go on, unless it is nothing that a trick did.
    """
    waiting = deque(run for run in study.runs if run.outcome() is None)
    playing: set[StudyRun] = set()
    failures: list[Failure] = []
    cut_short: list[StudyRun] = []
    in_a_row: list[Failure] = []
    asked = given_up = False
    try:
        with Interrupt(watcher.stopping) as interrupt:
            while playing or (waiting and not asked):
                given_up = given_up or is_no_tricks(in_a_row, study.base)
                if (interrupt.requested or given_up) and not asked:
                    place.stop()
                    asked = True
                while waiting and not asked and place.has_room():
                    playing.add(waiting[0])
                    place.start(waiting.popleft())
                for run, how in place.ended():
                    playing.remove(run)
                    if (outcome := run.outcome()) is not None:
                        in_a_row.clear()
                        watcher.ended(run, outcome)
                    elif asked and how in AS_ASKED:
                        cut_short.append(run)
                    else:
                        failure = Failure(run, how if isinstance(how, GankitError) else _what_it_said(run, how))
                        failures.append(failure)
                        in_a_row.append(failure)
                        watcher.failed(run, failure.error)
                watcher.look(place.running())
                time.sleep(LOOK_EVERY)
    finally:
        place.kill()
    left = bool(waiting or cut_short)
    return End(failures, cut_short, interrupt.requested and left, given_up and left)


def is_no_tricks(in_a_row: Sequence[Failure], base: Variant) -> bool:
    """Whether what went wrong is no trick's doing: with it and without it, runs have failed alike.

    Then the disk is full, or the data are gone, and all other runs would fail too.

    Args:
        in_a_row: failures since a run last came to its end.
        base: what the others are compared with.
    """
    of_base = {_kind(failure) for failure in in_a_row if failure.run.variant == base}
    return any(_kind(failure) in of_base for failure in in_a_row if failure.run.variant != base)


def _kind(failure: Failure) -> str:
    """What went wrong, without the run that it went wrong in."""
    folder = failure.run.variant.folder
    text = str(failure.error).replace(f"{folder}/seed-", "").replace(f"{folder}.toml", "")
    return re.sub(r"\d+", "", text)


def told(failures: Sequence[Failure]) -> GankitError:
    """What went wrong, a line for each run; an InputError where it is wrong input throughout."""
    wrong_input = all(isinstance(failure.error, InputError) for failure in failures)
    lines = [
        f"{run.name}: {failure.error}; when it is mended, `gankit ablate {run.study}` plays it again"
        for failure in failures
        if (run := failure.run)
    ]
    return (InputError if wrong_input else GankitError)("\n".join(lines))


def _what_it_said(run: StudyRun, code: int) -> GankitError:
    """A run's process, before it ended without an outcome."""
    lines = run.said_file.read_text(encoding="utf-8", errors="replace").splitlines() if run.said_file.exists() else []
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == InputError.exit_code and said:
        return InputError(" ".join(said))
    if code < 0 or code == INTERRUPTED:
        how = f"signal {-code}" if code < 0 else "a signal"
        return GankitError(f"its process was stopped by {how}; fewer --jobs take less memory")
    reason = " ".join(said) or (lines[-1] if lines else f"its process ended with code {code}")
    return GankitError(f"{reason} ({run.said_file} has all that was said)")
