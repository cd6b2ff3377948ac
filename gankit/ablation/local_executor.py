"""Executor that trains each run of a study in a separate process on this machine."""

import os
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gankit.ablation.study import StudyRun
from gankit.storage.atomic_io import disk_errors

CORES_PER_RUN = 2
"""Default number of CPU cores for each run.

With one core per run, more runs would train at the same time and need more memory. With more than two cores, the
threads of a small network would mostly wait for each other.
"""


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(gpus: int) -> int:
    """Return the default number of parallel runs: one for each GPU, or one for every two CPU cores if `gpus` is 0."""
    return gpus or max(1, available_cores() // CORES_PER_RUN)


def threads_per_run(jobs: int) -> int:
    """Return the number of CPU threads for each run.

    If the environment variable OMP_NUM_THREADS is set, return its value. Otherwise, return the number of CPU cores
    divided by `jobs`, the number of parallel runs.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else max(1, available_cores() // jobs)


def visible_gpus(count: int) -> list[str]:
    """Return the identifiers of the first `count` visible GPUs, as used in CUDA_VISIBLE_DEVICES: `["0", "1"]`."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def worker_command(run: StudyRun) -> list[str]:
    """Return the command that starts the process of a run, as a list of arguments for `subprocess.Popen`."""
    files = [str(path.absolute()) for path in (run.recipe_file, run.path)]
    return [sys.executable, "-m", "gankit.ablation.worker", files[0], str(run.seed), files[1]]


def start_worker(
    command: list[str], output: Path, environment: dict[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the process of a run in the working directory `folder`, and write its stdout and stderr to `output`.

    To stop the run, close the stdin of its process. The process runs in a new session, so it does not receive
    the signal of Ctrl-C. Only the main process of the study receives the signal, and then stops each run.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        out = open(output, "wb")  # noqa: SIM115 (`with out` closes it)
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
    """Close a pipe to a process. Do nothing if `stream` is None."""
    if stream is not None:
        stream.close()


@dataclass
class LocalExecutor:
    """Executor that trains up to `jobs` runs at a time on this machine, each with `threads` CPU threads.

    `gpus` is a list of GPU identifiers. For each run, the executor sets CUDA_VISIBLE_DEVICES to one of these GPUs. If
    `gpus` is empty, CUDA_VISIBLE_DEVICES is not changed.
    """

    jobs: int
    threads: int
    gpus: list[str]
    processes: dict[StudyRun, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = deque(self.gpus[number % len(self.gpus)] if self.gpus else "" for number in range(self.jobs))
        self.taken: dict[StudyRun, str] = {}

    def has_room(self) -> bool:
        return bool(self.free)

    def start(self, run: StudyRun) -> None:
        gpu = self.taken[run] = self.free.popleft()
        environment = {"OMP_NUM_THREADS": str(self.threads)} | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        self.processes[run] = start_worker(worker_command(run), run.output_file, environment)

    def running(self) -> list[StudyRun]:
        return list(self.processes)

    def ended(self) -> list[tuple[StudyRun, int]]:
        ended = [(run, code) for run, process in self.processes.items() if (code := process.poll()) is not None]
        for run, _ in ended:
            close(self.processes.pop(run).stdin)
            self.free.append(self.taken.pop(run))
        return ended

    def stop(self, run: StudyRun) -> None:
        close(self.processes[run].stdin)

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            close(process.stdin)
        self.processes.clear()
