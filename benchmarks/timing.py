"""How the benchmarks measure: loops that take turns in one process, ratios within a round, and a control.

A machine's speed drifts; two loops timed one after the other differ by that drift. Loops that take turns within
a round share it, so what counts is the ratio within a round, and of all rounds the median and the quartiles. The
control is one of the loops once more under another name: what it shows of itself is noise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Loop = Callable[[], object]
Clock = Literal["wall", "cpu"]
ResolvedPlugin = dict[str, Any]
"""What a benchmark has found, as JSON has it."""

CONTROL_WITHIN = (0.99, 1.01)
BUSY = 0.95
"""Share of the cores that torch may use which a valid measurement has kept busy."""


class Ratio(NamedTuple):
    """Of one loop's time to another's, or the difference of the two, over the rounds."""

    median: float
    low: float
    """The lower quartile."""

    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Rounds:
    """Seconds of each loop in each round, by the wall's clock and by the processor's."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]
    repeats: int
    """Calls of each loop in a round."""

    def ratio(self, name: str, to: str, clock: Clock = "wall") -> Ratio:
        seconds = self.wall if clock == "wall" else self.cpu
        ratios = [mine / other for mine, other in zip(seconds[name], seconds[to], strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        return Ratio(median, low, high)

    def difference(self, name: str, to: str) -> Ratio:
        """Milliseconds of one call of a loop less those of another, by the processor's clock."""
        pairs = zip(self.cpu[name], self.cpu[to], strict=True)
        low, median, high = statistics.quantiles([1000 * (mine - other) / self.repeats for mine, other in pairs], n=4)
        return Ratio(median, low, high)

    def together(self, names: Mapping[str, list[str]]) -> Rounds:
        """The rounds as if several loops had been one: under each name the sum of those listed."""

        def summed(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
            return {
                name: [sum(parts) for parts in zip(*(seconds[one] for one in of), strict=True)]
                for name, of in names.items()
            }

        return Rounds(summed(self.wall), summed(self.cpu), self.repeats)

    def milliseconds(self, name: str) -> float:
        """The median time of one call."""
        return 1000 * statistics.median(self.wall[name]) / self.repeats

    @property
    def is_locked(self) -> float:
        """Cores kept busy on average, of those that torch may use."""
        wall, cpu = (sum(sum(seconds) for seconds in clock.values()) for clock in (self.wall, self.cpu))
        return cpu / wall

    def trouble(self, control: Ratio) -> str | None:
        """Why the measurement does not count; None when it does."""
        wanted = BUSY * torch.get_num_threads()
        if not CONTROL_WITHIN[0] <= control.median <= CONTROL_WITHIN[1]:
            return f"the control is {control.median:.3f}"
        if self.busy < wanted:
            return f"{self.busy:.2f} cores were kept busy, of {torch.get_num_threads()}"
        return None


def interleaved(
    loops: Mapping[str, Loop],
    rounds: int,
    repeats: int = 1,
    warm_up: int = 3,
    before: Mapping[str, Loop] | None = None,
) -> Rounds:
    """Times loops that take turns.

    Args:
        loops: by name; each is called with nothing.
        rounds: in each of which every loop has its turn, in an order of its own: what a loop leaves behind in caches
            must not always meet the same one.
        repeats: calls of a loop in its turn.
        warm_up: calls of each loop before the first round.
        before: what some of them need done before each turn, in time that is not counted.
    """
    preparations = before or {}
    for name, loop in loops.items():
        for _ in range(warm_up):
            preparations.get(name, _nothing)()
            loop()
    names = list(loops)
    seconds: tuple[dict[str, list[float]], dict[str, list[float]]] = {n: [] for n in names}, {n: [] for n in names}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            preparations.get(name, _nothing)()
            for clock, taken in zip(seconds, timed(loops[name], repeats), strict=True):
                clock[name].append(taken)
    return Rounds(*seconds, repeats)


def _nothing() -> None:
    return None


def timed(loop: Loop, repeats: int) -> tuple[float, float]:
    """Seconds by the wall's clock and by the processor's."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        loop()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_of_tensors(loop: Loop) -> int:
    """Bytes that tensors take at most during a call, beyond what they take before it. On a CPU."""
    return max(accumulate(_allocations(loop)))


def bytes_of_tensors(loop: Loop) -> int:
    """Bytes that a call asks of torch's allocator in all, given back meanwhile or not. On a CPU."""
    return sum(asked for asked in _allocations(loop) if asked > 0)


def _allocations(loop: Loop) -> list[int]:
    """Bytes asked for and, below zero, given back, in the order of a call.

    The loop is called twice: what its first call leaves behind for good, an optimiser's averages for instance, is
    not counted.
    """
    loop()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        loop()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def machine() -> str:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found[1] if found else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{os.cpu_count()} cores of {processor}, {threads} threads, torch {torch.__version__}"


def command_line(
    doc: str | None, measure: Callable[[bool], ResolvedPlugin], section: Callable[[ResolvedPlugin], str]
) -> None:
    """A benchmark as a program: measures, shows its section of the page, and writes what it found.

    Args:
        doc: the module's, shown by `--help`.
        measure: takes whether to be quick, which shows that the program works and says nothing of speed.
        section: what was found, as Markdown that begins with a heading of level 2.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    arguments = parser.parse_args()
    found = measure(arguments.quick)
    print(section(found))
    if arguments.quick:
        print("A trial: these figures mean nothing.")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
