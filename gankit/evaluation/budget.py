"""Time budget of the evaluation."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gankit.formatting import plural


class Budget:
    """Time that evaluations take, compared with the time of the run.

    `share` is the largest share of the run's time, evaluations included, that evaluations may take.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self.clock = share, clock
        self.start = clock()
        self.spent = 0.0  # seconds spent so far on evaluations and their preparation

        self.expected = 0.0  # expected seconds of the next evaluation: those of the last one, without one-time work
        self._one_time = 0.0
        self.skipped = 0  # number of evaluations that were skipped

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    def allows(self) -> bool:
        """Return whether the next evaluation is expected to end within the budget."""
        return self.spent + self.expected <= self.share * (self.elapsed + self.expected)

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Add the time of the block to the time spent."""
        start = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - start

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Add the time of the block to the time spent, and expect the next evaluation to take as long."""
        before, self._one_time = self.spent, 0.0
        try:
            with self.charged():
                yield
        finally:
            self.expected = self.spent - before - self._one_time

    @contextmanager
    def one_time_work(self) -> Iterator[None]:
        """Exclude the block, which is part of an evaluation, from the expected time of the next one."""
        start = self.clock()
        try:
            yield
        finally:
            self._one_time += self.clock() - start

    def account(self) -> dict[str, Any]:
        """Return the totals, for `environment.json`."""
        return {"seconds": round(self.spent, 3), "share": round(self.spent / self.elapsed, 4), "left_out": self.skipped}

    def in_words(self) -> str:
        """Return the totals as a sentence."""
        sentence = f"evaluation took {self.spent:.1f} s, {self.spent / self.elapsed:.1%} of the time"
        skipped = f"; {plural(self.skipped, 'evaluation')} skipped to keep evaluation.budget = {100 * self.share:g}%"
        return sentence + (skipped if self.skipped else "")
