"""Metrics, speed and progress of a run, read from the rows of its log."""

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
"""Facts of a protocol that may differ between the variants of a study, because a trick may change them."""

TAIL_BYTES = 32_768
"""Number of bytes that are read from the end of a log, enough for many rows."""


@dataclass(frozen=True)
class MetricValue:
    """A value of a metric, which may be NaN."""

    value: float
    protocol: str  # protocol as JSON, without `VARIANT_FACTS`


def metrics_at(rows: Iterable[dict[str, Any]], iteration: int) -> dict[str, MetricValue]:
    """Return the metrics of an iteration by name. If a metric was computed twice, the newest value is returned."""
    newest: dict[str, MetricValue] = {}
    for row in rows:
        if row["iteration"] == iteration:
            newest |= {name: MetricValue(value, _protocol(row, name)) for name, value in row.get("metrics", {}).items()}
    return newest


def metric_names_before(rows: Iterable[dict[str, Any]], iteration: int) -> set[str]:
    """Return the names of the metrics that were computed before an iteration."""
    return {name for row in rows if row["iteration"] < iteration for name in row.get("metrics", {})}


def _protocol(row: dict[str, Any], name: str) -> str:
    return json.dumps({k: v for k, v in protocol_of(row, name).items() if k not in VARIANT_FACTS}, sort_keys=True)


def seconds_per_iteration(rows: Iterable[dict[str, Any]]) -> float | None:
    """Return the median time of an iteration between two rows with losses, or None without such rows.

    The median ignores the few intervals with a grid or a checkpoint. The first interval includes the slow start, so it
    is used only if there is no other. An interval with a resume is ignored, because the clock starts at 0 again.
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
    """Return the last rows of a log, which may be long and still being written."""
    if not log_file.exists():
        return []
    with open(log_file, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        lines = file.read().split(b"\n")
    # The first and the last line may be incomplete.
    return [json.loads(line) for line in lines[1 if start else 0 : -1] if line.endswith(b"}")]
