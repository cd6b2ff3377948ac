"""Runs of a study side by side on this machine, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gankit.ablation.study import StudyRun
from gankit.storage.atomic_io import disk_errors

CORES_FOR_A_RUN = 2
"""By default, on a CPU. With one core each, as many networks as there are cores would have to fit into memory; with
many, the threads of small networks wait for one another. Two is between the two; --jobs decides otherwise."""


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(gpus: int) -> int:
    """One run for each GPU; without, one for every two cores."""
    return gpus or max(1, cores() // CORES_FOR_A_RUN)


def threads_for(jobs: int) -> int:
    """Of each run: the cores shared out, unless OMP_NUM_THREADS says how many."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else max(1, cores() // jobs)


def gpu_names(count: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs that this process sees."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def command(run: StudyRun) -> list[str]:
    """Of a run's process."""
    files = [str(path.absolute()) for path in (run.recipe_file, run.path)]
    return [sys.executable, "-m", "gankit.ablation.worker", files[0], str(run.seed), files[1]]


def spawn(
    command: list[str], said: Path, environment: dict[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """A run's process, in a folder or in this process's. Closing its stdin asks it to stop.

    In a session of its own, so that Ctrl-C reaches the study alone, which then asks each run once.
    """
    with disk_errors(said):
        said.parent.mkdir(parents=True, exist_ok=True)
        out = open(said, "wb")  # noqa: SIM115 (closed below)
    with out:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
            cwd=folder,
        )


def close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


@dataclass
class Processes:
    """So many runs at a time.

    Args:
        jobs: how many.
        threads: of each.
        gpus: what CUDA_VISIBLE_DEVICES calls them; the jobs take turns. Empty where the recipe says the device.
    """

    jobs: int
    threads: int
    gpus: list[str]
    playing: dict[StudyRun, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = deque(self.gpus[number % len(self.gpus)] if self.gpus else "" for number in range(self.jobs))
        self.taken: dict[StudyRun, str] = {}

    def has_room(self) -> bool:
        return bool(self.free)

    def start(self, run: StudyRun) -> None:
        gpu = self.taken[run] = self.free.popleft()
        device = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        self.playing[run] = spawn(command(run), run.said_file, {"OMP_NUM_THREADS": str(self.threads)} | device)

    def running(self) -> list[StudyRun]:
        return list(self.playing)

    def ended(self) -> list[tuple[StudyRun, int]]:
        """Those that have ended since the last call, with their exit codes."""
        over = [(run, code) for run, process in self.playing.items() if (code := process.poll()) is not None]
        for run, _ in over:
            close(self.playing.pop(run).stdin)
            self.free.append(self.taken.pop(run))
        return over

    def stop(self) -> None:
        """Asks all to write a checkpoint and end."""
        for process in self.playing.values():
            close(process.stdin)

    def kill(self) -> None:
        """Ends all at once."""
        for process in self.playing.values():
            process.kill()
            process.wait()
            close(process.stdin)
        self.playing.clear()
