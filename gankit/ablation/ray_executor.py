"""Runs of a study on the machines of a Ray cluster.

Ray hands out the work and nothing else: a task starts the same process that plays a run on one machine
(`gankit.ablation.worker`) and waits for it. All files lie in the study's folder, which every machine must see under the
same path, and each needs gankit, the same plugins, and the data where the recipe looks for it. Nothing of a run travels
through Ray.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gankit.ablation.local_executor import close, command, spawn
from gankit.ablation.study import StudyRun
from gankit.ablation.worker import INTERRUPTED
from gankit.errors import GankitError, InputError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_raylet_start_wait_time_s": "300",  # on a busy machine its processes need more than the seconds it gives them
    "RAY_agent_register_timeout_ms": "300000",
}

POLL_EVERY = 0.2
"""Seconds between looks of a task at its process."""

LOOK_EVERY = 1.0
"""Seconds between looks at which runs have begun."""

UNSEEN = -1000
"""A task's answer where its machine does not see the study's folder."""


def play_here(command: list[str], said: str, study_file: str, folder: str, environment: dict[str, str]) -> int:
    """A task: a run's process, waited for. Cancelled, it asks the run to stop and waits for its checkpoint."""
    if not Path(study_file).exists():
        return UNSEEN
    # The interpreter may lie elsewhere than where the study was typed.
    # Paths of data may be relative to where the study was typed.
    typed = Path(folder) if Path(folder).is_dir() else None
    process = spawn([sys.executable, *command[1:]], Path(said), environment, typed)
    try:
        # Not `wait`: a cancelled task is interrupted between two steps of Python, never within one.
        while (code := process.poll()) is None:
            time.sleep(POLL_EVERY)
        return code
    except KeyboardInterrupt:
        close(process.stdin)
        return process.wait()


class Cluster:
    """A Ray cluster, which decides how many runs are played at a time.

    Args:
        address: HOST:PORT or `auto` joins one, `local` starts one on this machine.
        threads: of each run, and as many CPUs of the cluster are taken for it.
        gpu: whether runs may use one. Each takes a whole GPU where the cluster has some.

    Raises InputError when Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str, threads: int, gpu: bool) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(f"--ray {address}: Ray is not installed; try `pip install 'gankit[ray]'`") from None
        self.ray, self.threads = ray, threads
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises that very class for a cluster that does not answer in time
                reason = " ".join(str(error).split())
                raise InputError(
                    f"--ray {address}: the cluster cannot be had ({reason}); local starts one here, and without --ray "
                    "the runs are played on this machine"
                ) from error
        resources = ray.cluster_resources()
        if resources.get("CPU", 0) < threads:
            raise InputError(
                f"--ray {address}: a run takes {threads} CPUs, and the cluster has {resources.get('CPU', 0):.0f}; "
                "OMP_NUM_THREADS=1 takes one"
            )
        gpus = 1 if gpu and resources.get("GPU", 0) else 0
        self.task: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(play_here)
        self.tasks: dict[StudyRun, Any] = {}
        """Of the runs that were started and have not ended, most of which may wait for room."""

        self.began: set[StudyRun] = set()
        self._looked = 0.0

    def has_room(self) -> bool:
        """Always: Ray lets tasks wait until there is room, also for machines that come later."""
        return True

    def start(self, run: StudyRun) -> None:
        # It is there again as soon as the run's process is.
        run.said_file.unlink(missing_ok=True)
        files = [str(path.absolute()) for path in (run.said_file, run.study / "study.json", Path())]
        self.tasks[run] = self.task.remote(command(run), *files, {"OMP_NUM_THREADS": str(self.threads)})

    def running(self) -> list[StudyRun]:
        # The folder may lie on a server that has better to do.
        if time.monotonic() > self._looked + LOOK_EVERY:
            self._looked = time.monotonic()
            self.began |= {run for run in self.tasks if run not in self.began and run.said_file.exists()}
        return [run for run in self.tasks if run in self.began]

    def ended(self) -> Sequence[tuple[StudyRun, int | GankitError]]:
        """Those that have ended since the last call, with their exit codes, or with why there is none."""
        by_task = {task: run for run, task in self.tasks.items()}
        over, _ = self.ray.wait(list(by_task), num_returns=len(by_task), timeout=0) if by_task else ([], [])
        for task in over:
            del self.tasks[by_task[task]]
        return [(by_task[task], self._answer(task, by_task[task])) for task in over]

    def _answer(self, task: Any, run: StudyRun) -> int | GankitError:
        """Of a task that is over."""
        try:
            code: int = self.ray.get(task)
        except self.ray.exceptions.TaskCancelledError:
            return INTERRUPTED
        except self.ray.exceptions.RayError as error:
            return GankitError(f"Ray lost it: {in_a_sentence(error)}")
        if code == UNSEEN:
            return InputError(
                f"--ray: a machine of the cluster does not see {run.study.absolute()}; give --out a folder that all "
                "machines share"
            )
        return code

    def stop(self) -> None:
        """Asks all to write a checkpoint and end."""
        for task in self.tasks.values():
            self.ray.cancel(task, force=False)

    def kill(self) -> None:
        """Ends all at once, each with a checkpoint if it is still there to write one."""
        for task in self.tasks.values():
            self.ray.cancel(task, force=True)
        self.tasks.clear()


def in_a_sentence(error: Exception) -> str:
    """What is wrong, of an error of Ray: the last line where it is a traceback, the first where it goes on and on."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if any(line.startswith("File ") for line in lines) else lines[0]
