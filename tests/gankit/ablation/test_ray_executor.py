"""The Ray executor with a fake Ray, whose tasks end as the test says."""

import itertools
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from gankit import InputError, Recipe
from gankit.ablation import ray_executor
from gankit.ablation.ray_executor import FOLDER_NOT_VISIBLE, RayExecutor
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import INTERRUPTED
from gankit.recipe.bundled import find_recipe


class RayError(Exception):
    """Base class of Ray's errors."""


class TaskCancelledError(RayError):
    """Error of a task that was cancelled before it started."""


@pytest.fixture
def ray(monkeypatch):
    """The part of Ray that the executor uses. The handle of a task is its number."""

    def get(task):
        if isinstance(ray.results[task], Exception):
            raise ray.results[task]
        return ray.results[task]

    ray = Mock(results={}, exceptions=SimpleNamespace(RayError=RayError, TaskCancelledError=TaskCancelledError))
    ray.cluster_resources.return_value = {"CPU": 2.0}
    ray.remote.return_value.return_value.remote.side_effect = itertools.count(1)
    ray.wait = lambda tasks, num_returns, timeout: ([task for task in tasks if task in ray.results], [])
    ray.get = get
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_executor, "START_POLL_SECONDS", 0.0)
    return ray


@pytest.fixture
def runs(tmp_path):
    study = Study(tmp_path / "s", add_each(Recipe.load(find_recipe("gaussian_ring")), ["packing", "r1"]), [0], 1)
    for run in study.runs:
        run.output_file.parent.mkdir(parents=True)
        run.output_file.write_text("output of an earlier process")
    return study.runs


def submit(runs):
    executor = RayExecutor("auto", 1, False)
    for run in runs:
        executor.start(run)
    return executor


def test_a_task_checks_that_its_machine_sees_a_file_that_exists(ray, runs):
    """A study and a search have the recipe of a run before it starts, and name their other files differently."""
    submit(runs[:1])
    (_, _, recipe_file, *_), _ = ray.remote.return_value.return_value.remote.call_args
    assert recipe_file == str(runs[0].recipe_file.absolute())


def test_a_run_is_running_once_its_process_has_started(ray, runs):
    """All runs are submitted at once. Most wait until there is room."""
    executor = submit(runs)
    assert executor.running() == []
    runs[2].output_file.touch()
    assert executor.running() == [runs[2]]
    ray.results[3] = 0
    assert executor.ended() == [(runs[2], 0)]
    assert (executor.running(), executor.ended()) == ([], [])


TRACEBACK = """\x1b[36mray::run_task()\x1b[39m (pid=1, ip=10.0.0.2)
  File "ray_executor.py", line 44, in run_task
OSError: [Errno 28] No space left on device"""


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (RayError("The worker died.\nIt ran as pid 7."), "Ray lost the run: The worker died."),
        (RayError(TRACEBACK), "Ray lost the run: OSError: [Errno 28] No space left on device"),
        (RayError(), "Ray lost the run: RayError"),
        (FOLDER_NOT_VISIBLE, "a machine of the cluster does not see"),
    ],
)
def test_a_run_without_an_exit_code_has_failed(ray, runs, result, message):
    executor = submit(runs[:2])
    ray.results = {1: result, 2: 0}
    (run, error), other = executor.ended()
    assert run is runs[0]
    assert message in str(error)
    assert isinstance(error, InputError) == (result == FOLDER_NOT_VISIBLE)
    assert error.exit_code == (2 if result == FOLDER_NOT_VISIBLE else 1)
    assert other == (runs[1], 0)


def test_a_cancelled_task_is_interrupted(ray, runs):
    executor = submit(runs[:1])
    ray.results[1] = TaskCancelledError()
    assert executor.ended() == [(runs[0], INTERRUPTED)]
