"""How much of a run's time evaluation may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
        """Seconds in evaluations so far."""

        self.expected = 0.0
        """Seconds that the next is expected to take: what the last one took."""

    def allows(self) -> bool:
        """Whether the next one would, as far as can be told, end within the share."""
        until_then = self.clock() - self.began + self.expected
        return self.spent + self.expected <= self.share * until_then

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Counts the time inside."""
        start = self.clock()
        try:
            yield
        finally:
            self.expected = self.clock() - start
            self.spent += self.expected
