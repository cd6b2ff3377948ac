"""All measurements of speed and size, and the page that shows them.

    python benchmarks/performance.py --out DIR [--only NAME ...] [--quick]

Each benchmark runs in a process of its own and writes DIR/NAME.json. docs/performance.md is written from these files,
so `--only` repeats one measurement and keeps the others. No other program should run meanwhile. All of it takes an hour
on 2 cores.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import parser_of

BENCHMARKS = ("loop", "systems", "defaults", "classes", "data", "startup", "growth", "gpu")
"""Modules of this folder with `section`, in the order of the page. The last needs a GPU."""

PAGE = Path("docs/performance.md")

HEAD = """<!-- Written by `python benchmarks/performance.py`. -->
# Performance

Written by `python benchmarks/performance.py --out DIR`, which repeats all measurements. Most results are ratios of the
times of two loops that do the same work. The loops are interleaved in one process, so that changes in the speed of the
machine affect both. Each result is the median over the rounds, with the quartiles in brackets. Below 1 is faster. Where
whole processes or sizes are compared, the section says how. A *control* is a loop against a copy of itself: it shows
the noise. A measurement with a control is valid if the control is within 0.99 to 1.01 and the process had all cores.
The section names each measurement that is not valid.
"""


def measure(name: str, out: Path, quick: bool) -> bool:
    """Run one benchmark in a process of its own; return whether it succeeded."""
    program = str(Path(__file__).with_name(f"{name}.py"))
    if name == "gpu":
        command = [sys.executable, program, "--out", str(out), *(["--smoke"] if quick else [])]
    else:
        command = [sys.executable, program, "--json", str(out / f"{name}.json"), *(["--quick"] if quick else [])]
    print(f"== {name}", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def page(out: Path) -> str:
    """Return the page from the results in a folder."""
    sections = []
    for name in BENCHMARKS:
        file = out / f"{name}.json"
        if file.exists() or name == "gpu":
            result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            sections.append(importlib.import_module(name).section(result))
    return "\n".join([HEAD, *sections])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS, help="measure these only")
    parser.add_argument("--quick", action="store_true", help="run a tiny version, whose figures mean nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in given.only if name != "gpu" or torch.cuda.is_available()]
    failed = [name for name in names if not measure(name, given.out, given.quick)]
    given.page.write_text(page(given.out), encoding="utf-8")
    if failed:
        raise SystemExit(f"performance.py: these benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
