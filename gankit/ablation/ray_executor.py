"""Executor that trains the runs of a study on a Ray cluster.

For each run, a Ray task starts a process that executes the module `gankit.ablation.worker`. The task waits until the
process ends.

The study's folder must be accessible at the same path on all machines. Every machine needs gankit, the same plugins,
and the data at the path in the recipe.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from gankit.ablation.local_executor import close, start_worker, worker_command
from gankit.ablation.study import StudyRun
from gankit.ablation.worker import INTERRUPTED
from gankit.errors import GankitError, InputError
from gankit.plugin.hooks import NOTE

# Environment variables that disable Ray's telemetry and increase its timeouts. The default timeouts are too short for a
# busy machine.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
}

TASK_POLL_SECONDS = 0.2  # interval, in seconds, at which a Ray task checks whether the process of its run has ended

START_POLL_SECONDS = 1.0  # minimum time, in seconds, between two checks for newly started runs

FOLDER_NOT_VISIBLE = -1000  # exit code that a Ray task returns if its machine cannot access the study's folder


def run_task(command: list[str], output: str, recipe_file: str, folder: str, environment: dict[str, str]) -> int:
    """Start the process of a run, wait until it ends, and return its exit code.

    If the Ray task is cancelled, stop the run and wait until it has written a checkpoint.
    """
    if not Path(recipe_file).exists():
        return FOLDER_NOT_VISIBLE
    # The run starts in the folder in which the user started the study, because data paths may be relative to this
    # folder.
    cwd = Path(folder) if Path(folder).is_dir() else None
    # Use the Python interpreter of this machine, because its path may differ between the machines of the cluster.
    process = start_worker([sys.executable, *command[1:]], Path(output), environment, cwd)
    try:
        # Poll the process instead of calling `wait`. Ray cancels a task with a KeyboardInterrupt, which a blocking
        # `wait` would delay.
        while (code := process.poll()) is None:
            time.sleep(TASK_POLL_SECONDS)
        return code
    except KeyboardInterrupt:
        close(process.stdin)
        return process.wait()


class RayExecutor:
    """Executor for a Ray cluster. Ray decides how many runs train in parallel.

    Args:
        address: HOST:PORT or `auto` to connect to a running cluster, or `local` to start a cluster on this machine.
        threads: number of CPU threads of each run. Ray reserves the same number of CPUs for the run.
        gpu: True to reserve one GPU for each run, if the cluster has GPUs.
    """

    def __init__(self, address: str, threads: int, gpu: bool) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(f"--ray {address}: Ray is not installed; run `pip install 'gankit[ray]'`") from None
        self.ray, self.threads = ray, threads
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # after a timeout, Ray raises the base class Exception
                reason = " ".join(str(error).split())
                raise InputError(
                    f"--ray {address}: no connection to the cluster ({reason}); `--ray local` starts one on this "
                    "machine, and without --ray the runs train on this machine"
                ) from error
        resources = ray.cluster_resources()
        if resources.get("CPU", 0) < threads:
            raise InputError(
                f"--ray {address}: a run needs {threads} CPUs, and the cluster has {resources.get('CPU', 0):.0f}; "
                "set OMP_NUM_THREADS=1 for runs with one CPU"
            )
        gpus = 1 if gpu and resources.get("GPU", 0) else 0
        self.jobs = int(resources["GPU"] if gpus else resources["CPU"] // threads)
        """Number of runs that the cluster can train at a time, without machines that join it later."""

        self.task: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_task)
        self.tasks: dict[StudyRun, Any] = {}  # Ray task of each run that was submitted and has not ended
        self.started: set[StudyRun] = set()
        self._last_poll = 0.0

    def has_room(self) -> bool:
        # All runs are submitted to Ray's queue immediately, so machines that join the cluster later also train runs.
        return True

    def start(self, run: StudyRun) -> None:
        # `running` lists only runs with an output file. Delete the output file of an earlier process of this run.
        run.output_file.unlink(missing_ok=True)
        files = [str(path.absolute()) for path in (run.output_file, run.recipe_file, Path())]
        self.tasks[run] = self.task.remote(worker_command(run), *files, {"OMP_NUM_THREADS": str(self.threads)})

    def running(self) -> list[StudyRun]:
        # The study's folder may be on a slow file server, so the output files are checked at most once per second.
        if time.monotonic() > self._last_poll + START_POLL_SECONDS:
            self._last_poll = time.monotonic()
            self.started |= {run for run in self.tasks if run not in self.started and run.output_file.exists()}
        return [run for run in self.tasks if run in self.started]

    def ended(self) -> list[tuple[StudyRun, int | GankitError]]:
        runs = {task: run for run, task in self.tasks.items()}
        ready, _ = self.ray.wait(list(runs), num_returns=len(runs), timeout=0) if runs else ([], [])
        for task in ready:
            del self.tasks[runs[task]]
        return [(runs[task], self._result(task, runs[task])) for task in ready]

    def _result(self, task: Any, run: StudyRun) -> int | GankitError:
        """Return the exit code of a run whose Ray task has ended, or an error if the run was lost or did not start."""
        try:
            code: int = self.ray.get(task)
        except self.ray.exceptions.TaskCancelledError:
            return INTERRUPTED
        except self.ray.exceptions.RayError as error:
            return GankitError(f"Ray lost the run: {error_summary(error)}")
        if code == FOLDER_NOT_VISIBLE:
            return InputError(
                f"--ray: a machine of the cluster does not see {run.study.absolute()}; set --out to a folder that all "
                "machines share"
            )
        return code

    def stop(self, run: StudyRun) -> None:
        self.ray.cancel(self.tasks[run], force=False)

    def kill(self) -> None:
        for task in self.tasks.values():
            self.ray.cancel(task, force=True)
        self.tasks.clear()


def error_summary(error: Exception) -> str:
    """Return the line of a Ray error message that describes the cause.

    This is the last line if the message contains a traceback, and the first line otherwise.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().startswith(NOTE)]
    lines = lines or [type(error).__name__]
    return lines[-1] if any(line.startswith("File ") for line in lines) else lines[0]
