"""Events of a run, for displays and callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gankit.storage.run_dir import RunDir
from gankit.training.run import TrainingRun


@dataclass(frozen=True)
class Outcome:
    """Ending of a run."""

    iterations: int
    seconds: float
    """Duration in this process. The earlier processes of a resumed run do not count."""

    interrupted: bool = False
    """True if iterations or the last metrics are missing."""

    stop_reason: str | None = None
    """Reason that a plugin gave for ending the run, or None."""


class Reporter:
    """Receiver of the events of a run. Displays and callers override the methods of the events that they need.

    With several ranks, only the reporter of the first rank is used.
    """

    def preparing(self, stage: str) -> None:
        """Handle the start of a stage before the training, such as `reading the images`."""

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        """Handle the start of the training in this process."""

    def trained(self, run: TrainingRun) -> None:
        """Handle the end of an iteration. Called for each one, so it must not wait for the device."""

    def logged(self, row: dict[str, Any]) -> None:
        """Handle a row with losses that was written to `log.jsonl`."""

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        """Handle new metrics of the generator, by name, computed in `seconds`."""

    def warned(self, sentence: str) -> None:
        """Handle a warning about the recipe or the run."""

    def informed(self, sentence: str) -> None:
        """Handle a message about the run, such as the checkpoint that it resumes from."""

    def stopping(self) -> None:
        """Handle a signal after which the run ends with this iteration. Called from the signal handler."""

    def ended(self, outcome: Outcome) -> None:
        """Handle the end of the training without an error."""

    def concluded(self, directory: RunDir) -> None:
        """Handle the end of the run, after success and after an error. The ending is recorded."""
