"""How much of a run's time evaluation may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Budget:
    """Lets an evaluation begin only if what it is expected to take stays within a share of the time.

    Args:
        share: of all time since the beginning, evaluation included.
        clock: seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self.clock = share, clock
        self.began = clock()
        self.spent = 0.0
        """Seconds so far: in evaluations, and in getting ready for them."""

        self.expected = 0.0
        """Seconds that the next is expected to take: what the last one took."""

        self._once = 0.0

        self.left_out = 0
        """Evaluations that did not take place."""

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    def allows(self) -> bool:
        """Whether the next one would, as far as can be told, end within the share."""
        return self.spent + self.expected <= self.share * (self.passed + self.expected)

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Counts the time inside."""
        start = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - start

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Counts the time inside, and expects the next one to take as long."""
        before, self._once = self.spent, 0.0
        try:
            with self.charged():
                yield
        finally:
            self.expected = self.spent - before - self._once

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within an evaluation: what no later one will need. It is counted, and not expected again."""
        start = self.clock()
        try:
            yield
        finally:
            self._once += self.clock() - start

    def account(self) -> dict[str, Any]:
        """What evaluation came to, for the record."""
        return {
            "seconds": round(self.spent, 3),
            "share": round(self.spent / self.passed, 4),
            "left_out": self.left_out,
        }

    def in_words(self) -> str:
        """The same, for the user."""
        sentence = f"evaluation took {self.spent:.1f} s in all, {self.spent / self.passed:.1%} of the time"
        if not self.left_out:
            return sentence
        were = "was" if self.left_out == 1 else "were"
        return f"{sentence}; {self.left_out} {were} left out for the budget of {100 * self.share:g}%"
