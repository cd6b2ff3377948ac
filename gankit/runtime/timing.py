"""Timing of loops that are compared: interleaved in one process, with ratios within a round.

The speed of a machine drifts, so two loops that are timed one after the other differ by that drift. Interleaved loops
share it within a round. The result is the median, over the rounds, of the ratio within a round, with the quartiles.
"""

from __future__ import annotations

import os
import platform
import random
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from gankit.formatting import plural

Loop = Callable[[], object]
Clock = Literal["wall", "cpu"]

CONTROL_WITHIN = (0.99, 1.01)
BUSY = 0.95
"""Share of torch's threads that must have a core for a measurement to be valid."""


class Ratio(NamedTuple):
    """Ratio or difference of the times of two loops, over the rounds."""

    median: float
    low: float
    """Lower quartile."""

    high: float
    """Upper quartile."""

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def quartiles(values: Sequence[float]) -> Ratio:
    """Return the median and the quartiles. A single value is all three."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return Ratio(median, low, high)


@dataclass(frozen=True)
class Rounds:
    """Seconds of each loop in each round."""

    wall: dict[str, list[float]]
    """Wall-clock time."""

    cpu: dict[str, list[float]]
    """CPU time of the process."""

    repeats: int
    """Calls of each loop in a round."""

    def ratio(self, name: str, to: str, clock: Clock = "wall") -> Ratio:
        """Return the time of one loop divided by the time of another."""
        seconds = self.wall if clock == "wall" else self.cpu
        return quartiles([a / b for a, b in zip(seconds[name], seconds[to], strict=True)])

    def difference(self, name: str, to: str) -> Ratio:
        """Return the CPU milliseconds of one call of a loop, less those of another."""
        pairs = zip(self.cpu[name], self.cpu[to], strict=True)
        return quartiles([1000 * (a - b) / self.repeats for a, b in pairs])

    def summed(self, groups: Mapping[str, list[str]]) -> Rounds:
        """Return rounds in which each group of loops counts as one loop, with the sum of their times."""

        def sums(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
            return {
                name: [sum(times) for times in zip(*(seconds[member] for member in members), strict=True)]
                for name, members in groups.items()
            }

        return Rounds(sums(self.wall), sums(self.cpu), self.repeats)

    def milliseconds(self, name: str) -> float:
        """Return the median time of one call."""
        return 1000 * statistics.median(self.wall[name]) / self.repeats

    @property
    def busy_cores(self) -> float:
        """Average number of cores that the process kept busy."""
        wall, cpu = (sum(sum(seconds) for seconds in clock.values()) for clock in (self.wall, self.cpu))
        return cpu / wall

    def invalid(self, control: Ratio) -> str | None:
        """Return the reason why the measurement is not valid, or None."""
        threads = torch.get_num_threads()
        if not CONTROL_WITHIN[0] <= control.median <= CONTROL_WITHIN[1]:
            return f"the control is {control.median:.3f}"
        if self.busy_cores < BUSY * threads:
            return f"{self.busy_cores:.2f} cores were busy, of {threads}"
        return None


def interleaved(
    loops: Mapping[str, Loop],
    rounds: int,
    repeats: int = 1,
    warm_up: int = 3,
    before: Mapping[str, Loop] | None = None,
) -> Rounds:
    """Time loops in rounds. Each round calls every loop `repeats` times, in a random order.

    Args:
        loops: loops by name.
        rounds: number of rounds.
        repeats: calls of each loop in a round.
        warm_up: calls of each loop before the first round.
        before: functions by loop that are called before each timed block and are not timed.
    """

    def prepare(name: str) -> None:
        (before or {}).get(name, lambda: None)()

    for name, loop in loops.items():
        for _ in range(warm_up):
            prepare(name)
            loop()
    wall: dict[str, list[float]] = {name: [] for name in loops}
    cpu: dict[str, list[float]] = {name: [] for name in loops}
    # A fixed order would give a loop always the same predecessor, with the same contents of the caches.
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(loops), len(loops)):
            prepare(name)
            for seconds, taken in zip((wall, cpu), timed(loops[name], repeats), strict=True):
                seconds[name].append(taken)
    return Rounds(wall, cpu, repeats)


def timed(loop: Loop, repeats: int) -> tuple[float, float]:
    """Return the wall-clock seconds and the CPU seconds of some calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        loop()
    return time.perf_counter() - wall, time.process_time() - cpu


def processor() -> str:
    """Return the model name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def machine() -> str:
    """Return cores, processor, threads and torch version, for a page."""
    threads = plural(torch.get_num_threads(), "thread")
    return f"{os.cpu_count()} cores of {processor()}, {threads}, torch {torch.__version__}"
