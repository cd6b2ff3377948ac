"""What a run came to, read from its log."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gankit.evaluation.protocol import protocol_of

OF_THE_TRICK = ("generator", "labels")
"""Facts of a protocol in which variants may differ: a moving average of G is another generator, which is the trick; and
what a generator is asked for follows from how it learnt."""


@dataclass(frozen=True)
class MetricResults:
    """A value of a measure; it may be NaN."""

    value: float
    protocol: str
    """How it was measured, as JSON; empty where the log does not say."""


def measures_at(rows: Iterable[dict[str, Any]], iteration: int) -> dict[str, MetricResults]:
    """By name, what the lines of a log say of an iteration; of a measure taken twice, the newest value."""
    newest: dict[str, MetricResults] = {}
    for row in rows:
        if row["iteration"] == iteration:
            newest |= {
                name: MetricResults(value, _protocol(row, name)) for name, value in row.get("metrics", {}).items()
            }
    return newest


def measures_before(rows: Iterable[dict[str, Any]], iteration: int) -> set[str]:
    """The names of measures that were taken before an iteration."""
    return {name for row in rows if row["iteration"] < iteration for name in row.get("metrics", {})}


def _protocol(row: dict[str, Any], name: str) -> str:
    facts = {key: fact for key, fact in protocol_of(row, name).items() if key not in OF_THE_TRICK}
    return json.dumps(facts, sort_keys=True) if "protocol" in row else ""


def seconds_per_iteration(rows: Iterable[dict[str, Any]]) -> float | None:
    """The median over the stretches between the log's lines of losses; None when there is no such line.

    A median, since some stretches hold a grid or a checkpoint. The first stretch, with all that is slow at the
    beginning, counts only where it is the only one. After a resume the log's clock begins anew, and the iterations of
    that first stretch are not known.
    """
    marks = [(row["iteration"], row["seconds"]) for row in rows if "loss" in row]
    stretches = [
        (seconds - before) / (iteration - began)
        for (began, before), (iteration, seconds) in pairwise(marks)
        if seconds > before and iteration > began
    ]
    if stretches:
        return statistics.median(stretches)
    return next((seconds / iteration for iteration, seconds in marks if seconds > 0), None)


TAIL = 32_768
"""Bytes of a log that are read to see how far a run is; many lines of losses."""


def newest_rows(log_file: Path) -> list[dict[str, Any]]:
    """The last lines of a log, which may be long and in the middle of being written."""
    if not log_file.exists():
        return []
    with open(log_file, "rb") as file:
        whole = file.seek(0, os.SEEK_END) <= TAIL
        file.seek(0 if whole else -TAIL, os.SEEK_END if not whole else os.SEEK_SET)
        lines = file.read().split(b"\n")
    # The first may be the end of a line, and the last the beginning of one.
    return [json.loads(line) for line in lines[0 if whole else 1 : -1] if line.endswith(b"}")]
