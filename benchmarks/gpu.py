"""All that is measured and checked on a GPU, in one command.

    python benchmarks/gpu.py --out DIR [--only speed profile ...] [--minutes 9]

Writes DIR/gpu.json and DIR/gpu.md. Parts: speed (loops by hand, gankit, gankit as a graph; three workloads, three
precisions, two batch sizes), profile (costs and gaps), checks (tests, resume and graphs to the byte), defaults (which
of gankit's win), waits (which tricks make the CPU wait) and compiled. Each piece of a part runs in a process of its
own, so that a GPU that one of them leaves broken is whole again for the next. What fails is a row with its error, what
the time does not suffice for is a row that says so.

`--device cpu --quick` walks through all of it with tiny networks; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cost
import gpu_checks
import gpu_defaults
import gpu_page
import gpu_speed
import torch
from gpu_profile import profiled
from gpu_speed import COMPILED, EAGER, Setting, built, first_line
from gpu_waits import most_of
from gpu_workloads import PRECISIONS, WORKLOADS
from timing import ResolvedPlugin

from gankit.recipe.toml import merge
from gankit.training.update import train_iteration

SECONDS = 4.0
"""For each comparison, once all loops are warm."""

LEAST = 15.0
"""Seconds that must be left for a piece to be begun."""

PROFILED = ("gankit", "gankit, graph")

LOOKS = 30
"""Iterations between two looks of the tricks that look now and then."""


@dataclass(frozen=True)
class Options:
    device: str
    quick: bool = False

    @property
    def seconds(self) -> float:
        return 0.0 if self.quick else SECONDS

    def setting(self, workload: str, precision: str, batch_size: int | None = None) -> Setting:
        return Setting(workload, precision, self.device, batch_size, self.quick)


def speed(workload: str, options: Options) -> Iterator[ResolvedPlugin]:
    sizes = WORKLOADS[workload].batch_sizes[: 1 if options.quick else None]
    for size in sizes:
        for precision in PRECISIONS:
            yield from gpu_speed.rows(options.setting(workload, precision, size), EAGER, options.seconds)


def compiled(workload: str, options: Options) -> Iterator[ResolvedPlugin]:
    for precision in ("tf32",) if options.quick else reversed(PRECISIONS):
        yield from gpu_speed.rows(options.setting(workload, precision), COMPILED, options.seconds)


def profile(workload: str, options: Options) -> Iterator[ResolvedPlugin]:
    for precision in ("tf32", "bf16"):
        for variant in PROFILED:
            row: ResolvedPlugin = {"workload": workload, "precision": precision, "variant": variant}
            setting = options.setting(workload, precision)
            try:
                loop, _ = built(lambda variant=variant, setting=setting: EAGER[variant](setting), setting.on)
                yield row | profiled(loop, 1 if options.quick else 5, setting.on)
            except Exception as error:
                yield row | {"error": first_line(error)}


def defaults(workload: str, options: Options) -> Iterator[ResolvedPlugin]:
    for precision in ("tf32",) if options.quick else ("tf32", "bf16"):
        yield from gpu_defaults.rows(options.setting(workload, precision), options.seconds)


def waits(cell: str, options: Options) -> Iterator[ResolvedPlugin]:
    """Every part that costs.py knows, in a small game: the most that one of its iterations waits for the device."""
    changes = cost.changes()
    for name in list(changes)[:2] if options.quick else changes:
        row: ResolvedPlugin = {"part_name": name}
        try:
            train = {"train": {"device": options.device, "batch_size": 8}, "data": {"count": 64}}
            run = cost.assembled(merge(merge(cost.PLAIN, train), changes[name]))
            for _ in range(3):
                train_iteration(run)
                run.after_iteration(run)

            def iteration(run=run) -> None:  # noqa: ANN001
                train_iteration(run)
                run.after_iteration(run)

            yield row | {"waits": most_of(iteration, run.device, 2 if options.quick else LOOKS)}
        except Exception as error:
            yield row | {"error": first_line(error)}


def checks(cell: str, options: Options) -> Iterator[ResolvedPlugin]:
    yield from gpu_checks.rows(cell, options.device, options.quick)


class Component(NamedTuple):
    """Something that is measured or checked, piece by piece."""

    rows: Callable[[str, Options], Iterator[ResolvedPlugin]]
    cells: tuple[str, ...]
    """The pieces."""

    seconds: float
    """That a piece may take, so that a slow one leaves time for the others."""


PARTS = {
    "speed": Component(speed, tuple(WORKLOADS), 100.0),
    "profile": Component(profile, tuple(WORKLOADS), 45.0),
    "checks": Component(checks, gpu_checks.CELLS, 150.0),
    "defaults": Component(defaults, tuple(WORKLOADS), 60.0),
    "waits": Component(waits, ("all parts",), 90.0),
    "compiled": Component(compiled, tuple(WORKLOADS), 120.0),
}
"""The most important first."""


def measure(quick: bool) -> ResolvedPlugin:
    """All parts on a GPU; nothing where there is none. Takes about nine minutes."""
    return measured(Options("cuda", quick), list(PARTS), 9.0) if torch.cuda.is_available() else {}


def section(found: ResolvedPlugin) -> str:
    """What was found, as Markdown; for nothing, by which command it would be."""
    return gpu_page.section(found)


def measured(options: Options, only: list[str], minutes: float) -> ResolvedPlugin:
    """Every piece in a process of its own, until the time is over."""
    until = time.monotonic() + 60 * minutes
    found: ResolvedPlugin = {"options": {"device": options.device, "quick": options.quick}, "parts": {}, "seconds": {}}
    found["machine"] = gpu_speed.describe(torch.device(options.device))
    for name in only:
        began = time.monotonic()
        found["parts"][name] = [
            row for cell in PARTS[name].cells for row in apart(name, cell, options, until - time.monotonic())
        ]
        found["seconds"][name] = round(time.monotonic() - began, 1)
        print(f"{name}: {len(found['parts'][name])} rows in {found['seconds'][name]} s", file=sys.stderr, flush=True)
    return found


def apart(part: str, cell: str, options: Options, seconds: float) -> list[ResolvedPlugin]:
    """The rows of a piece, played by a process of its own; those that it had written, and why there are no more."""
    if seconds < LEAST:
        return [{"cell": cell, "error": "left out: no time was left"}]
    seconds = min(seconds, PARTS[part].seconds)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        command = [sys.executable, __file__, "--cell", part, cell, "--rows", str(file), "--device", options.device]
        process = subprocess.Popen(
            command + (["--quick"] if options.quick else []),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=seconds)
            ended = f"ended with {process.returncode}: {(said.strip().splitlines() or [''])[-1]}"[:300]
        except subprocess.TimeoutExpired:
            # With all that it has started itself: runs, tests.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            ended = f"stopped after {seconds:.0f} seconds"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    # Of a process that was killed, the last line may be half there.
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return rows if process.returncode == 0 else [*rows, {"cell": cell, "error": ended}]


def play(part: str, cell: str, options: Options, rows: Path) -> None:
    """A piece, in this process; each row is written as soon as it is known."""
    with rows.open("a", encoding="utf-8") as file:
        for row in PARTS[part].rows(cell, options):
            file.write(json.dumps({"cell": cell, **row}) + "\n")
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."), help="where gpu.json and gpu.md are written")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts")
    parser.add_argument("--minutes", type=float, default=9.0, help="what is not begun by then is left out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--cell", nargs=2, metavar=("PART", "PIECE"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = Options(arguments.device, arguments.quick)
    if arguments.cell:
        play(*arguments.cell, options, arguments.rows)
        return
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --quick tries the program without one")
    found = measured(options, arguments.only, arguments.minutes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (arguments.out / "gpu.md").write_text(section(found), encoding="utf-8")
    print(section(found))


if __name__ == "__main__":
    main()
