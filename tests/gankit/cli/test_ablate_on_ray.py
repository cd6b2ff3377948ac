"""`gankit ablate --ray`: a study on a local Ray cluster."""

import json
import os

import pytest

ray = pytest.importorskip("ray")

from gankit.ablation.ray_executor import ENVIRONMENT  # noqa: E402


@pytest.fixture
def cluster(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for attempt in range(3):  # on a busy machine, Ray may run into its own timeout
        try:
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
            break
        except Exception:
            ray.shutdown()
            if attempt == 2:
                raise
    yield
    ray.shutdown()


def test_a_study_on_a_local_cluster(gankit, toy, cluster):
    command = ("ablate", "toy.toml", "tricks.scored.use=./toy.py:Scored", "--add", "boost.use=./toy.py:Average")
    answer = gankit(*command, "--seeds", "1", "--ray", "local", "--out", "s")
    assert answer.code == 0, answer.err
    assert "2 of 2 done" in answer.out
    row, _ = json.loads((toy / "s" / "table.json").read_text())["rows"]
    assert (row["without"], row["effect"]["mean"]) == (10.0, 2.0)
    # The processes use the number of threads on record in the study.
    environment = json.loads((toy / "s" / "recipe" / "seed-0" / "environment.json").read_text())
    assert environment["threads"] == json.loads((toy / "s" / "study.json").read_text())["threads"]
    assert environment["threads"] == int(os.environ["OMP_NUM_THREADS"])
