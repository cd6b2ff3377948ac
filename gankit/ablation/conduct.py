"""Plays what a study still lacks, wherever its runs are played."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from gankit.ablation.player import INTERRUPTED
from gankit.ablation.study import Run, Study
from gankit.errors import GankitError, InputError
from gankit.interrupt import Interrupt

LOOK_EVERY = 0.1
"""Seconds between looks at the runs."""


class Place(Protocol):
    """Where runs are played."""

    def has_room(self) -> bool: ...

    def start(self, run: Run) -> None: ...

    def running(self) -> list[Run]: ...

    def ended(self) -> list[tuple[Run, int]]:
        """Those that have ended since the last call, with their exit codes."""
        ...

    def stop(self) -> None:
        """Asks all to write a checkpoint and end."""
        ...

    def kill(self) -> None:
        """Ends all at once."""
        ...


class Watcher(Protocol):
    """Who is told how the study is going."""

    def ended(self, run: Run, outcome: dict[str, Any]) -> None: ...

    def look(self, running: list[Run]) -> None:
        """Called again and again."""
        ...

    def stopping(self) -> None:
        """A signal asks for the end. Called from the signal's handler."""
        ...


def conduct(study: Study, place: Place, watcher: Watcher) -> bool:
    """Plays all runs that are not over yet; returns whether a signal cut it short, the runs then being resumable.

    A game that breaks down is a result, and the others go on. Anything else that goes wrong (a setting that only shows
    in a run, a full disk, a bug) is none: it ends the study, the other runs with a checkpoint each.

    Raises GankitError for the first run that went wrong.
    """
    waiting = deque(run for run in study.runs if run.outcome() is None)
    failure: GankitError | None = None
    asked = False
    try:
        with Interrupt(watcher.stopping) as interrupt:
            while waiting or place.running():
                if (interrupt.requested or failure is not None) and not asked:
                    waiting.clear()
                    place.stop()
                    asked = True
                while waiting and place.has_room():
                    place.start(waiting.popleft())
                for run, code in place.ended():
                    if (outcome := run.outcome()) is not None:
                        watcher.ended(run, outcome)
                    elif not asked:
                        failure = failure or _failure(run, code)
                watcher.look(place.running())
                time.sleep(LOOK_EVERY)
    finally:
        place.kill()
    if failure is not None:
        raise failure
    return interrupt.requested


def _failure(run: Run, code: int) -> GankitError:
    """What a run's process said before it ended without an outcome."""
    go_on = f"when it is mended, `gankit ablate {run.study}` goes on"
    lines = run.said_file.read_text(encoding="utf-8", errors="replace").splitlines() if run.said_file.exists() else []
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == InputError.exit_code and said:
        return InputError(f"{run.name}: {' '.join(said)}; {go_on}")
    if code < 0 or code == INTERRUPTED:
        how = f"signal {-code}" if code < 0 else "a signal"
        return GankitError(f"{run.name}: its process was stopped by {how}; fewer --jobs take less memory; {go_on}")
    reason = " ".join(said) or (lines[-1] if lines else f"its process ended with code {code}")
    return GankitError(f"{run.name}: {reason} ({run.said_file} has all that was said); {go_on}")
