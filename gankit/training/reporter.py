"""Events of a run, for displays and callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from gankit.storage.run_dir import RunDir
from gankit.training.run import Game


@dataclass(frozen=True)
class Outcome:
    """How a run came to its end."""

    iterations: int
    seconds: float
    """Of this process; a resumed run's earlier processes are not in it."""

    interrupted: bool = False
    """Whether something is left to do: iterations, or the last measures."""

    stop_reason: str | None = None
    """Why a plugin ended the run, if one did."""


class Reporter(Protocol):
    """Who is told how the run is going."""

    def preparing(self, what: str) -> None:
        """What is done next before the run begins, which may take a while: `reading the images`."""
        ...

    def began(self, game: Game, directory: RunDir) -> None: ...

    def played(self, game: Game) -> None:
        """An iteration is over. Called every time, so it must not wait for the device."""
        ...

    def logged(self, row: dict[str, Any]) -> None: ...

    def measured(self, iteration: int, measures: dict[str, float], seconds: float = 0.0) -> None:
        """What plugins have measured of the generator at an iteration, by name, and what that took."""
        ...

    def advised(self, sentence: str) -> None:
        """A plugin has something to say about the run."""
        ...

    def stopping(self) -> None:
        """A signal asks for the end, which comes after this iteration. Called from the signal's handler."""
        ...

    def ended(self, outcome: Outcome) -> None: ...


class Silent:
    """A reporter that shows nothing; whoever wants to know one thing overrides one method."""

    def preparing(self, what: str) -> None: ...

    def began(self, game: Game, directory: RunDir) -> None: ...

    def played(self, game: Game) -> None: ...

    def logged(self, row: dict[str, Any]) -> None: ...

    def measured(self, iteration: int, measures: dict[str, float], seconds: float = 0.0) -> None: ...

    def advised(self, sentence: str) -> None: ...

    def stopping(self) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...
