"""Metrics, training speed and progress of a run, read from its `log.jsonl`."""

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gankit.evaluation.protocol import protocol_of

VARIANT_FACTS = ("generator", "labels")
"""Keys of a protocol that are ignored when two variants are compared, because a trick may change their values.

The protocol of a metric contains the settings and the facts about the data with which the metric was computed.
"""

TAIL_BYTES = 32_768
"""Number of bytes that `read_last_rows` reads from the end of a log file, enough for many rows."""


@dataclass(frozen=True)
class MetricValue:
    """Value of a metric, which may be NaN, and its protocol: the settings and data with which it was computed."""

    value: float
    protocol: str  # protocol as a JSON string, without the keys in `VARIANT_FACTS`


def metrics_at(rows: Iterable[dict[str, Any]], iteration: int) -> dict[str, MetricValue]:
    """Return the metrics at an iteration, by name. If a metric was computed twice, return the newer value.

    `rows` are the rows of log.jsonl.
    """
    newest: dict[str, MetricValue] = {}
    for row in rows:
        if row["iteration"] == iteration:
            newest |= {name: MetricValue(value, _protocol(row, name)) for name, value in row.get("metrics", {}).items()}
    return newest


def metric_names_before(rows: Iterable[dict[str, Any]], iteration: int) -> set[str]:
    """Return the names of the metrics that were computed before an iteration. `rows` are the rows of log.jsonl."""
    return {name for row in rows if row["iteration"] < iteration for name in row.get("metrics", {})}


def _protocol(row: dict[str, Any], name: str) -> str:
    return json.dumps({k: v for k, v in protocol_of(row, name).items() if k not in VARIANT_FACTS}, sort_keys=True)


def seconds_per_iteration(rows: Iterable[dict[str, Any]]) -> float | None:
    """Return the median training time per iteration, in seconds, or None if the log has no times.

    The result is the median over the intervals between consecutive log rows with losses. The median is insensitive to
    the few intervals in which a grid or a checkpoint was written. The time until the first row includes the slow start
    of training, so this time is used only if there is no other interval. An interval in which the run was resumed is
    ignored, because the time in the log restarts at 0.
    """
    times = [(row["iteration"], row["seconds"]) for row in rows if "loss" in row]
    paces = [
        (seconds - seconds_before) / (iteration - iteration_before)
        for (iteration_before, seconds_before), (iteration, seconds) in pairwise(times)
        if seconds > seconds_before and iteration > iteration_before
    ]
    if paces:
        return statistics.median(paces)
    return next((seconds / iteration for iteration, seconds in times if seconds > 0), None)


def read_last_rows(log_file: Path) -> list[dict[str, Any]]:
    """Return the last rows of a run's log without reading the whole file. The run may still be writing to the file."""
    if not log_file.exists():
        return []
    with open(log_file, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        lines = file.read().split(b"\n")
    # Leave out the first line, which may be cut off, and the last line, which may be incomplete.
    return [json.loads(line) for line in lines[1 if start else 0 : -1] if line.endswith(b"}")]
