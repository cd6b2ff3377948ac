"""A run on a device that is killed and resumed through the command line ends with the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gpu_workloads import recipe
from timing import ResolvedPlugin

ITERATIONS, EVERY = 60, 10
"""Of the run, and between its checkpoints."""

NOT_COMPARED = {"log.jsonl", "environment.json", "report.html", ".lock"}
"""They say when a run was played and how often it was begun."""

PATIENCE = 240.0
"""Seconds for each process."""


def kill_and_resume(workload: str, device: str, folder: Path) -> ResolvedPlugin:
    """Plays a small game of a workload's parts twice, one of them cut short by SIGKILL; which files differ in the end.

    Args:
        workload: whose recipe it is, with tiny networks.
        device: where it is played, with deterministic algorithms.
        folder: empty; keeps the runs.
    """
    file = folder / "recipe.toml"
    file.write_text(recipe(workload, "fp32", device, quick=True, deterministic=True).to_toml(), encoding="utf-8")
    whole, broken = folder / "whole", folder / "broken"
    output = [f"train.iterations={ITERATIONS}", f"output.checkpoint_every={EVERY}", f"output.sample_every={EVERY}"]
    processes = [_gankit("run", str(file), "--out", str(out), *output, "output.log_every=1") for out in (whole, broken)]
    killed_at = kill_behind_checkpoint(processes[1], broken, 2 * EVERY)
    _must_end_well(processes[0])
    if killed_at is None:
        raise RuntimeError("the run had ended before it could be killed")
    _must_end_well(_gankit("resume", str(broken)))
    different = differences(whole, broken)
    return {"killed_at": killed_at, "files": len(files_of(whole)), "different": different}


def _gankit(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    command = [sys.executable, "-m", "gankit", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def kill_behind_checkpoint(process: subprocess.Popen[str], run: Path, iteration: int) -> int | None:
    """Kills a run as soon as the checkpoint of an iteration lies there; which was the newest then.

    None when the run has ended before.
    """
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        there = [int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
        if there and max(there) >= iteration:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return max(there)
        time.sleep(0.005)
    if process.poll() is None:
        process.kill()
    process.communicate()
    return None


def _must_end_well(process: subprocess.Popen[str]) -> None:
    """Raises RuntimeError with the last line that the process wrote."""
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise RuntimeError((said.strip().splitlines() or [f"it ended with {process.returncode}"])[-1])


def files_of(run: Path) -> dict[str, bytes]:
    """Every file of a run with what is in it, but for those that say when it was played."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in NOT_COMPARED
    }


def differences(one: Path, other: Path) -> list[str]:
    """The files that two runs do not have alike, to the byte."""
    ours, theirs = files_of(one), files_of(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
