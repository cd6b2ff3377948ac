"""What is made of Ray's answers, by one that answers as the test says."""

import sys
from types import SimpleNamespace

import pytest

from gankit import InputError, Recipe
from gankit.ablation import ray_executor as clusters
from gankit.ablation.ray_executor import UNSEEN, Cluster
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.ablation.worker import INTERRUPTED
from gankit.recipe.bundled import find_recipe


class RayError(Exception):
    """Of Ray's errors, the one that all others are."""


class TaskCancelledError(RayError):
    """Of a task that was cancelled before it began."""


class FakeRay:
    """As much of Ray as a cluster uses; a task's number is its handle."""

    exceptions = SimpleNamespace(RayError=RayError, TaskCancelledError=TaskCancelledError)

    def __init__(self):
        self.answers, self.tasks = {}, 0

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": 2.0}

    def remote(self, **resources):
        return lambda function: SimpleNamespace(remote=self.submit)

    def submit(self, *arguments):
        self.tasks += 1
        return self.tasks

    def wait(self, tasks, num_returns, timeout):
        return [task for task in tasks if task in self.answers], []

    def get(self, task):
        if isinstance(self.answers[task], Exception):
            raise self.answers[task]
        return self.answers[task]


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(clusters, "LOOK_EVERY", 0.0)
    return fake


@pytest.fixture
def runs(tmp_path):
    study = Study(tmp_path / "s", add_each(Recipe.load(find_recipe("gaussian_ring")), ["packing"]), [0, 1], 1)
    for run in study.runs:
        run.said_file.parent.mkdir(parents=True, exist_ok=True)
        run.said_file.write_text("of an earlier time")
    return study.runs


def started(runs):
    cluster = Cluster("auto", 1, False)
    for run in runs:
        cluster.start(run)
    return cluster


def test_a_run_is_played_once_its_process_has_begun(ray, runs):
    """All are submitted at once; most wait until there is room."""
    cluster = started(runs)
    assert cluster.running() == []
    runs[2].said_file.touch()
    assert cluster.running() == [runs[2]]
    ray.answers[3] = 0
    assert cluster.ended() == [(runs[2], 0)]
    assert (cluster.running(), cluster.ended()) == ([], [])


TRACEBACK = """\x1b[36mray::play_here()\x1b[39m (pid=1, ip=10.0.0.2)
  File "/site-packages/gankit/ablation/cluster.py", line 44, in play_here
    process = spawn([sys.executable])
OSError: [Errno 28] No space left on device"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RayError("The worker died unexpectedly.\nIt ran as pid 7."), "Ray lost it: The worker died unexpectedly."),
        (RayError(TRACEBACK), "Ray lost it: OSError: [Errno 28] No space left on device"),
        (RayError(), "Ray lost it: RayError"),
    ],
)
def test_what_ray_loses_is_a_run_that_failed(ray, runs, answer, said):
    cluster = started(runs[:2])
    ray.answers = {1: answer, 2: 0}
    (_, error), other = cluster.ended()
    assert (str(error), error.exit_code) == (said, 1)
    assert other == (runs[1], 0)


def test_a_task_that_was_cancelled_was_asked_to_end(ray, runs):
    cluster = started(runs[:1])
    ray.answers[1] = TaskCancelledError()
    assert cluster.ended() == [(runs[0], INTERRUPTED)]


def test_a_machine_that_does_not_see_the_folder(ray, runs):
    cluster = started(runs[:1])
    ray.answers[1] = UNSEEN
    ((_, error),) = cluster.ended()
    assert isinstance(error, InputError)
    assert "a machine of the cluster does not see" in str(error)
