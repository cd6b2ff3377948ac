"""Loops timed on a device: by its own events where it is a GPU, by the processor's clock where it is not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
from timing import Loop, Rounds

FEWEST, MOST = 5, 41
"""Rounds."""

AT_LEAST = 0.02
"""Seconds that a loop's turn in a round is to last: events tell a microsecond, a GPU's clock frequency wavers."""


def settle(device: torch.device) -> None:
    """Waits until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(loop: Loop, repeats: int, device: torch.device) -> float:
    """From the first call's beginning to the end of all that the last one has the device do."""
    settle(device)
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(repeats):
            loop()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        loop()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def interleaved(loops: Mapping[str, Loop], device: torch.device, seconds: float, warm_up: int = 2) -> Rounds:
    """Times loops that take turns; how many rounds, and how many calls in each, follows from the time there is.

    Args:
        loops: by name; each is called with nothing and has been warmed up.
        device: what they keep busy.
        seconds: about how long all of it may take.
        warm_up: further calls of each loop, by which they are first timed.
    """
    once = {name: seconds_of(loop, warm_up, device) / warm_up for name, loop in loops.items()}
    repeats = max(1, round(AT_LEAST / max(once.values())))
    rounds = min(MOST, max(FEWEST, int(seconds / (repeats * sum(once.values())))))
    names = list(loops)
    taken: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.process_time()
            taken[name].append(seconds_of(loops[name], repeats, device))
            processor[name].append(time.process_time() - began)
    return Rounds(taken, processor, repeats)


def milliseconds(rounds: Rounds, name: str) -> list[float]:
    """Of one call: the lower quartile, the median, the upper quartile."""
    return [1000 * q / rounds.repeats for q in statistics.quantiles(rounds.wall[name], n=4)]
