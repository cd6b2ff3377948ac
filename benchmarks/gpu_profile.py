"""What a device is busy with in an iteration, and for how long it is busy with nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from gpu_clock import settle
from timing import Loop, ResolvedPlugin
from torch.profiler import ProfilerActivity, profile

ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
"""Categories of a trace in which the device itself is at work."""

SHOWN = 15
"""Kernels in the list of costs."""

NAME_LENGTH = 110

LONG_GAP = 5.0
"""Microseconds; from one kernel of a stream to the next a GPU takes one or two."""


class Activity(NamedTuple):
    """A kernel, or a copy, from when to when in microseconds."""

    name: str
    start: float
    end: float


def profiled(loop: Loop, iterations: int, device: torch.device) -> ResolvedPlugin:
    """The costs and the gaps of some calls of a loop that has been warmed up."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    settle(device)
    with profile(activities=activities) as profiler:
        for _ in range(iterations):
            loop()
        settle(device)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_text(encoding="utf-8"))
    # Without a GPU the program is tried on what the processor did.
    return summary(activities_of(trace, ON_DEVICE if device.type == "cuda" else {"cpu_op"}), iterations)


def summary(found: list[Activity], iterations: int) -> ResolvedPlugin:
    """Costs and gaps of what a device did in so many iterations."""
    if not found:
        raise ValueError("the profiler has seen nothing on the device")
    intervals = [(a.start, a.end) for a in found]
    between = gaps(intervals)
    busy = busy_time(intervals)
    span = busy + sum(between)
    return {
        "iterations": iterations,
        "milliseconds": span / 1000 / iterations,
        "activities": len(found) / iterations,
        "idle_share": idle_share(intervals),
        "long_gaps": sum(gap > LONG_GAP for gap in between) / iterations,
        "longest_gap": max(between, default=0.0),
        "costs": costs(found, iterations)[:SHOWN],
    }


def activities_of(trace: dict[str, Any], categories: set[str]) -> list[Activity]:
    """What of a trace in Chrome's format is of some categories, in the order of its beginning.

    Ranges that somebody has only named, an optimiser's step for instance, are drawn over the kernels; they are of
    another category.
    """
    found = [
        Activity(event["name"], event["ts"], event["ts"] + event["dur"])
        for event in trace["traceEvents"]
        if event.get("ph") == "X" and event.get("cat") in categories
    ]
    return sorted(found, key=lambda activity: activity.start)


def gaps(intervals: Iterable[tuple[float, float]]) -> list[float]:
    """How long nothing ran, each time, between the first beginning and the last end; intervals may overlap."""
    found, until = [], None
    for start, end in sorted(intervals):
        if until is not None and start > until:
            found.append(start - until)
        until = end if until is None else max(until, end)
    return found


def busy_time(intervals: Iterable[tuple[float, float]]) -> float:
    """How long something ran; what ran at the same time counts once."""
    ordered = sorted(intervals)
    return max(end for _, end in ordered) - ordered[0][0] - sum(gaps(ordered))


def idle_share(intervals: Iterable[tuple[float, float]]) -> float:
    """The share of the time between the first beginning and the last end in which nothing ran."""
    ordered = sorted(intervals)
    idle, span = sum(gaps(ordered)), max(end for _, end in ordered) - ordered[0][0]
    return idle / span if span else 0.0


def costs(found: Iterable[Activity], iterations: int) -> list[ResolvedPlugin]:
    """Each kernel's time and calls in an iteration and its share of all kernels' time, the costliest first."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for name, start, end in found:
        seconds[name] += end - start
        calls[name] += 1
    total = sum(seconds.values())
    return [
        {
            "name": name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}...",
            "milliseconds": taken / 1000 / iterations,
            "calls": calls[name] / iterations,
            "share": taken / total if total else 0.0,
        }
        for name, taken in sorted(seconds.items(), key=lambda item: -item[1])
    ]
