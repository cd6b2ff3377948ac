"""What must be right on a GPU: the tests that concern it, exact resume, and a graph that computes what Python does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from gpu_graphs import Again, Record, RecordedIteration, recorded
from gpu_resume import kill_and_resume
from gpu_speed import first_line
from gpu_workloads import WORKLOADS, assembled
from timing import ResolvedPlugin

from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import seed_all

ROOT = Path(__file__).parents[1]

PATIENCE = 240.0
"""Seconds for the tests."""

ITERATIONS = 5
"""That a graph is compared over."""


def suite(quick: bool) -> Iterator[ResolvedPlugin]:
    """The tests marked `gpu`, with how many passed, failed and were skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["--collect-only"] if quick else ["-n", "8"]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        yield {"check": "tests", "passed": False, "error": f"they took more than {PATIENCE:g} seconds"}
        return
    lines = ended.stdout.strip().splitlines() or [ended.stderr.strip()[-300:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    yield {"check": "tests", "passed": ended.returncode == 0, "counts": counts(lines[-1]), "failed": failed[:20]}


def counts(line: str) -> dict[str, int]:
    """The last line of pytest, `3 failed, 40 passed, 2 skipped in 9.10s`, as numbers."""
    found = re.findall(r"(\d+)(?:/\d+)? (?:tests )?(passed|failed|skipped|errors?|collected)\b", line)
    return {word: int(number) for number, word in found}


def resume(workload: str, device: str) -> Iterator[ResolvedPlugin]:
    """A run killed and resumed, to the byte."""
    row: ResolvedPlugin = {"check": "resume", "workload": workload}
    try:
        with TemporaryDirectory() as folder:
            found = kill_and_resume(workload, device, Path(folder))
        yield row | found | {"passed": not found["different"]}
    except Exception as error:
        yield row | {"passed": False, "error": first_line(error)}


def graph(workload: str, device: str, quick: bool) -> Iterator[ResolvedPlugin]:
    """Weights after some iterations launched as a graph and after the same ones played by Python, to the byte."""
    row: ResolvedPlugin = {"check": "graph", "workload": workload, "iterations": ITERATIONS}
    try:
        record = recorded if torch.device(device).type == "cuda" else Again
        one, other = (weights_after(workload, device, quick, by) for by in (record, Again))
        apart = max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))
        yield row | {"passed": all(map(torch.equal, one, other)), "apart": apart}
    except Exception as error:
        yield row | {"passed": False, "error": first_line(error)}
    finally:
        torch.use_deterministic_algorithms(False)


def weights_after(workload: str, device: str, quick: bool, record: Record) -> list[torch.Tensor]:
    run = assembled(workload, "fp32", device, quick=quick, deterministic=True)
    seed_all(0)
    iteration = RecordedIteration(run, record)
    for _ in range(ITERATIONS):
        iteration()
    return [p.detach().cpu() for player in PLAYERS for p in run.parameters[player]]


def rows(cell: str, device: str, quick: bool) -> Iterator[ResolvedPlugin]:
    """One check: `tests`, `resume WORKLOAD` or `graph WORKLOAD`."""
    check, _, workload = cell.partition(" ")
    if check == "tests":
        yield from suite(quick)
    elif check == "resume":
        yield from resume(workload, device)
    else:
        yield from graph(workload, device, quick)


CELLS = ("resume dcgan_64", "resume igan_vn_96", *(f"graph {name}" for name in WORKLOADS), "tests")
