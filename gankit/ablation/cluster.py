"""Runs of a study on the machines of a Ray cluster.

Ray hands out the work and nothing else: a task starts the same process that plays a run on one machine
(`gankit.ablation.player`) and waits for it. All files lie in the study's folder, which every machine must see under the
same path, and each needs gankit, the same plugins, and the data where the recipe looks for it. Nothing of a run travels
through Ray.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from gankit.ablation.player import INTERRUPTED
from gankit.ablation.processes import close, command, spawn
from gankit.ablation.study import Run
from gankit.errors import InputError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_raylet_start_wait_time_s": "300",  # on a busy machine its processes need more than the seconds it gives them
    "RAY_agent_register_timeout_ms": "300000",
}

POLL_EVERY = 0.2
"""Seconds between looks of a task at its process."""

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
        self.playing: dict[Run, Any] = {}

    def has_room(self) -> bool:
        """Always: Ray lets tasks wait until there is room, also for machines that come later."""
        return True

    def start(self, run: Run) -> None:
        files = [str(path.absolute()) for path in (run.said_file, run.study / "study.json", Path())]
        self.playing[run] = self.task.remote(command(run), *files, {"OMP_NUM_THREADS": str(self.threads)})

    def running(self) -> list[Run]:
        return list(self.playing)

    def ended(self) -> list[tuple[Run, int]]:
        """Those that have ended since the last call, with their exit codes.

        Raises InputError when a machine does not see the study's folder.
        """
        by_task = {task: run for run, task in self.playing.items()}
        over, _ = self.ray.wait(list(by_task), num_returns=len(by_task), timeout=0) if by_task else ([], [])
        codes = []
        for task in over:
            run = by_task[task]
            del self.playing[run]
            try:
                code = self.ray.get(task)
            except self.ray.exceptions.TaskCancelledError:
                code = INTERRUPTED
            if code == UNSEEN:
                raise InputError(
                    f"--ray: a machine of the cluster does not see {run.study.absolute()}; give --out a folder that "
                    "all machines share"
                )
            codes.append((run, code))
        return codes

    def stop(self) -> None:
        """Asks all to write a checkpoint and end."""
        for task in self.playing.values():
            self.ray.cancel(task, force=False)

    def kill(self) -> None:
        """Ends all at once, each with a checkpoint if it is still there to write one."""
        for task in self.playing.values():
            self.ray.cancel(task, force=True)
        self.playing.clear()
