"""Timing shared by all benchmarks: interleaved loops in one process, ratios within a round, and a control.

The speed of a machine drifts, so two loops that are timed one after the other differ by that drift. Interleaved loops
share it within a round. The result is the median, over the rounds, of the ratio within a round, with the quartiles. The
control is a copy of one of the loops: its ratio shows the noise. The loops themselves are timed by
`gankit.runtime.timing`, whose names are available here too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from gankit.runtime.timing import Clock as Clock
from gankit.runtime.timing import Loop as Loop
from gankit.runtime.timing import Ratio as Ratio
from gankit.runtime.timing import Rounds as Rounds
from gankit.runtime.timing import interleaved as interleaved
from gankit.runtime.timing import machine as machine
from gankit.runtime.timing import processor as processor
from gankit.runtime.timing import quartiles as quartiles
from gankit.runtime.timing import timed as timed

Result = dict[str, Any]
"""Result of a benchmark, as stored in its JSON file."""


def peak_of_tensors(loop: Loop) -> int:
    """Return the peak of the bytes that tensors take on the CPU during a call, beyond those before the call."""
    return max(accumulate(_allocations(loop)))


def bytes_of_tensors(loop: Loop) -> int:
    """Return the sum of all bytes that a call requests from torch's CPU allocator."""
    return sum(size for size in _allocations(loop) if size > 0)


def _allocations(loop: Loop) -> list[int]:
    """Return the bytes that a call allocates and, as negative numbers, frees, in order."""
    # The first call allocates what stays, such as an optimiser's averages. Only the second is recorded.
    loop()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        loop()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(map(str, row))} |" for row in (heads, ["---"] * len(heads), *rows)]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a program whose `--help` shows the module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def command_line(
    doc: str | None,
    measure: Callable[[bool], Result],
    section: Callable[[Result], str],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a benchmark as a program: measure, print its section of the page, and write the result as JSON.

    `measure` takes whether to run the tiny version, for tests. `section` returns Markdown with a heading of level 2.
    """
    parser = parser_of(doc)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--quick", action="store_true", help="run a tiny version, whose figures mean nothing")
    options = parser.parse_args(arguments)
    result = measure(options.quick)
    print(section(result))
    if options.quick:
        print("Tiny version: these figures mean nothing.")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
