"""Events of a run, for displays and callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gankit.storage.run_dir import RunDir
from gankit.training.run import TrainingRun


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    iterations: int
    seconds: float
    """Time in this process. The earlier processes of a resumed run do not count."""

    interrupted: bool = False
    """True if iterations or the last metrics are left to do."""

    stop_reason: str | None = None
    """Reason that a plugin gave for ending the run, or None."""


class Reporter:
    """Receives the events of a run and shows nothing. Displays and callers override the events that they need.

    With several ranks, only the reporter of the first rank is used.
    """

    def preparing(self, stage: str) -> None:
        """Start a stage before the run begins that may take a while, such as `reading the images`."""

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        """Start the first iteration of this process."""

    def trained(self, run: TrainingRun) -> None:
        """Complete an iteration. Called every time, so it must not wait for the device."""

    def logged(self, row: dict[str, Any]) -> None:
        """Write a row with losses to `log.jsonl`."""

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        """Compute the metrics of the generator, by name, in `seconds`."""

    def warned(self, sentence: str) -> None:
        """Pass on a warning about the recipe or the run."""

    def informed(self, sentence: str) -> None:
        """Pass on a fact about the run, such as the checkpoint that it resumes from."""

    def stopping(self) -> None:
        """Receive a signal. The run ends after this iteration. Called from the signal handler."""

    def ended(self, outcome: Outcome) -> None:
        """End the training without an error."""

    def concluded(self, directory: RunDir) -> None:
        """Close the run directory, after success and after an error. The ending is on record."""
