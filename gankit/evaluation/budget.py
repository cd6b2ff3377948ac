"""Time budget for the evaluations of a run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gankit.formatting import plural


class Budget:
    """Time budget for the evaluations of a run, and the time that the evaluations have taken so far.

    Args:
        share: maximum fraction of the run's total time that evaluations may take. The total time includes evaluations.
        clock: function that returns the time in seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self.clock = share, clock
        self.start = clock()
        self.spent = 0.0  # seconds spent so far on evaluations and their preparation

        # Estimated time of the next evaluation, in seconds: the time of the last evaluation, without work that is done
        # only once.
        self.expected = 0.0
        self._one_time = 0.0
        self.skipped = 0  # number of evaluations that were skipped because of the budget

    @property
    def elapsed(self) -> float:
        """Seconds since the creation of this object."""
        return self.clock() - self.start

    def allows(self) -> bool:
        """Return True if one more evaluation is expected to stay within the time budget."""
        return self.spent + self.expected <= self.share * (self.elapsed + self.expected)

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Measure the time of the `with` block, and add it to the time spent on evaluations."""
        start = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - start

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Measure the time of an evaluation in the `with` block, and add it to the time spent on evaluations.

        The measured time, without the time in `one_time_work`, is also the estimate for the next evaluation.
        """
        before, self._one_time = self.spent, 0.0
        try:
            with self.charged():
                yield
        finally:
            self.expected = self.spent - before - self._one_time

    @contextmanager
    def one_time_work(self) -> Iterator[None]:
        """Measure the time of one-time work in the `with` block, such as computing features of real images.

        The estimate for the next evaluation excludes this time.
        """
        start = self.clock()
        try:
            yield
        finally:
            self._one_time += self.clock() - start

    def account(self) -> dict[str, Any]:
        """Return the evaluation time in seconds, its fraction of the run's time, and the number of skipped evaluations.

        These values are written to `environment.json`.
        """
        return {"seconds": round(self.spent, 3), "share": round(self.spent / self.elapsed, 4), "left_out": self.skipped}

    def in_words(self) -> str:
        """Return a sentence about the evaluation time and the skipped evaluations.

        Example: `evaluation took 3.1 s, 4.9% of the time; 2 evaluations skipped to keep evaluation.budget = 5%`.
        """
        sentence = f"evaluation took {self.spent:.1f} s, {self.spent / self.elapsed:.1%} of the time"
        skipped = f"; {plural(self.skipped, 'evaluation')} skipped to keep evaluation.budget = {100 * self.share:g}%"
        return sentence + (skipped if self.skipped else "")
