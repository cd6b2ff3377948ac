"""Base class of the objects that receive the events of a run, and a class for the outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gankit.storage.run_dir import RunDir
from gankit.training.run import TrainingRun


@dataclass(frozen=True)
class Outcome:
    """Outcome of training in this process: the last iteration, the training time, and the reason for an early end."""

    iterations: int
    seconds: float
    """Training time of this process, in seconds. The time of earlier processes of a resumed run is not included."""

    interrupted: bool = False
    """True if the run was interrupted before its last iteration, or before its last metrics were computed."""

    stop_reason: str | None = None
    """Reason for an early end or a rollback, or None if the run has trained all its iterations."""

    best: dict[str, Any] | None = None
    """Best value of `output.keep_best` so far: metric, value and iteration. None if there is no value."""

    rolled_back: bool = False
    """True if the run has returned to an earlier checkpoint, from which it must be resumed."""


class Reporter:
    """Base class of objects that receive a run's events, with one method for each event.

    The methods do nothing. A subclass overrides the methods that it needs. With several ranks, only the first rank
    reports events.
    """

    def preparing(self, stage: str) -> None:
        """Handle the start of a stage before the training. `stage` is, for example, `reading the images`."""

    def started(self, run: TrainingRun, directory: RunDir) -> None:
        """Handle the start of the training, before the first iteration of this process."""

    def trained(self, run: TrainingRun) -> None:
        """Handle the end of an iteration. This method must be fast: it must not make the CPU wait for the GPU."""

    def logged(self, row: dict[str, Any]) -> None:
        """Handle a row of losses. The row has already been written to `log.jsonl`."""

    def evaluating(self) -> None:
        """Handle the start of an evaluation of the generator."""

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        """Handle new metrics of the generator, given by name. `seconds` is the computation time in seconds."""

    def warned(self, sentence: str) -> None:
        """Handle a warning about the recipe or the run."""

    def informed(self, sentence: str) -> None:
        """Handle a message about the run, such as the name of the checkpoint from which it resumes."""

    def stopping(self) -> None:
        """Handle a request to stop, such as Ctrl-C. The run ends after this iteration.

        The signal handler calls this method.
        """

    def ended(self, outcome: Outcome) -> None:
        """Handle the end of the training. This method is not called if the training ends with an error."""

    def concluded(self, directory: RunDir) -> None:
        """Handle the end of the run, with or without an error. The run directory already records the end."""
