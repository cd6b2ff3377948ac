"""Executor that trains the runs of a study on a Ray cluster.

A Ray task starts the same process as on a single machine (`gankit.ablation.worker`) and waits for it. All files are in
the study's folder, which must be shared by all machines under one path. Every machine needs gankit, the same plugins,
and the data where the recipe expects it.
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

# No telemetry, and longer timeouts, because Ray's own are too short for a busy machine.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
}

TASK_POLL_SECONDS = 0.2  # seconds between two checks of a task on its process

START_POLL_SECONDS = 1.0  # seconds between two checks on which runs have started

FOLDER_NOT_VISIBLE = -1000  # return value of a task whose machine does not see the study's folder


def run_task(command: list[str], output: str, study_file: str, folder: str, environment: dict[str, str]) -> int:
    """Train a run in a process; return its exit code. A cancelled task stops the run and waits for its checkpoint."""
    if not Path(study_file).exists():
        return FOLDER_NOT_VISIBLE
    # Paths of data may be relative to the folder in which the user started the study.
    cwd = Path(folder) if Path(folder).is_dir() else None
    # The interpreter may have another path on this machine.
    process = start_worker([sys.executable, *command[1:]], Path(output), environment, cwd)
    try:
        # The process is polled, because `wait` would block the KeyboardInterrupt of a cancellation.
        while (code := process.poll()) is None:
            time.sleep(TASK_POLL_SECONDS)
        return code
    except KeyboardInterrupt:
        close(process.stdin)
        return process.wait()


class RayExecutor:
    """Executor for a Ray cluster. Ray decides how many runs train in parallel.

    Args:
        address: HOST:PORT or `auto` to join a cluster, `local` to start one on this machine.
        threads: threads of each run, and number of CPUs of the cluster that it uses.
        gpu: use a GPU for each run, if the cluster has any.
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
            except Exception as error:  # Ray raises a plain Exception after a timeout
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
        self.task: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_task)
        self.tasks: dict[StudyRun, Any] = {}  # tasks of the runs that were submitted and have not ended
        self.started: set[StudyRun] = set()
        self._last_poll = 0.0

    def has_room(self) -> bool:
        # Ray has a queue, so all runs are submitted at once. Machines that join later take runs from it.
        return True

    def start(self, run: StudyRun) -> None:
        # `running` uses this file to detect that the process has started.
        run.output_file.unlink(missing_ok=True)
        files = [str(path.absolute()) for path in (run.output_file, run.study / "study.json", Path())]
        self.tasks[run] = self.task.remote(worker_command(run), *files, {"OMP_NUM_THREADS": str(self.threads)})

    def running(self) -> list[StudyRun]:
        # The folder may be on a file server, so it is not checked in every call.
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
        """Return the result of a task that has ended."""
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

    def stop(self) -> None:
        for task in self.tasks.values():
            self.ray.cancel(task, force=False)

    def kill(self) -> None:
        for task in self.tasks.values():
            self.ray.cancel(task, force=True)
        self.tasks.clear()


def error_summary(error: Exception) -> str:
    """Return the line of an error of Ray that names the cause: the last line of a traceback, or else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if any(line.startswith("File ") for line in lines) else lines[0]
