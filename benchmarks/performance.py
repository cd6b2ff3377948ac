"""Every measurement of speed and size, and the page that tells of them.

    python benchmarks/performance.py --out DIR [--only NAME ...] [--quick]

Each benchmark runs as a process of its own and leaves DIR/NAME.json; docs/performance.md is written from what lies
there, so `--only` measures one thing anew and keeps the others. Nothing else should run meanwhile. On 2 cores all of
it takes an hour.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import torch

BENCHMARKS = ("loop", "defaults", "classes", "data", "startup", "growth", "gpu")
"""In the page's order: modules beside this one with `measure` and `section`. The last wants a GPU."""

PAGE = Path("docs/performance.md")

HEAD = """<!-- Written by `python benchmarks/performance.py`. -->
# How fast, and how large

Written by `python benchmarks/performance.py --out DIR`, which measures all of it anew. What counts is the ratio of two
ways of doing the same work, which take turns in one process so that a machine's moods strike both; medians, and
quartiles in brackets. Below 1 is faster. Where whole processes are compared, or sizes, the section says how. A
*control* is a loop against a copy of itself: what it shows is noise. Where there is one, a measurement counts when the
control lies within 0.99 to 1.01 and it had the cores to itself, or the section says that it does not.
"""


def measure(name: str, out: Path, quick: bool) -> bool:
    """Runs one benchmark in a process of its own; returns whether it came to its end."""
    program = Path(__file__).with_name(f"{name}.py")
    where = ["--out", str(out)] if name == "gpu" else ["--json", str(out / f"{name}.json")]
    command = [sys.executable, str(program), *where, *(["--quick"] if quick else [])]
    print(f"== {name}", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def page(out: Path) -> str:
    """The page, of the benchmarks that have left something in `out`; of a GPU that is not there it says so."""
    sections = []
    for name in BENCHMARKS:
        file = out / f"{name}.json"
        if file.exists() or name == "gpu":
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            sections.append(importlib.import_module(name).section(found))
    return "\n".join([HEAD, *sections])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the benchmarks leave what they find")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS, help="measure these alone")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    able = [name for name in arguments.only if name != "gpu" or torch.cuda.is_available()]
    failed = [name for name in able if not measure(name, arguments.out, arguments.quick)]
    arguments.page.write_text(page(arguments.out), encoding="utf-8")
    if failed:
        raise SystemExit(f"not measured anew: {', '.join(failed)}")


if __name__ == "__main__":
    main()
