"""`gankit ablate --ray`: the same study on a cluster of this machine."""

import json
import os

import pytest

ray = pytest.importorskip("ray")

from gankit.ablation.ray_executor import ENVIRONMENT  # noqa: E402


@pytest.fixture
def cluster(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for attempt in range(3):  # on a busy machine it may not be up in the time that Ray gives itself
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
    with open(toy / "toy.py", "a") as file:
        file.write(
            '\n\nclass Scored(Plugin):\n    name = "scored"\n    @hookimpl\n    def evaluate(self, run):\n'
            '        return {"score": float(run.recipe.seed + 5 * any(p.endswith("slow") for p in run.plugins))}\n'
        )
    asked = ("ablate", "toy.toml", "tricks.scored.use=./toy.py:Scored", "--add", "slow.use=./toy.py:Slow")
    answer = gankit(*asked, "--seeds", "1", "--ray", "local", "--out", "s")
    assert answer.code == 0, answer.err
    assert "2 of 2 over" in answer.out
    (row,) = json.loads((toy / "s" / "table.json").read_text())["rows"]
    assert (row["without"], row["effect"]["mean"]) == (0.0, 5.0)
    # What the processes ran on: as many threads as the study has on record.
    environment = json.loads((toy / "s" / "recipe" / "seed-0" / "environment.json").read_text())
    assert environment["threads"] == json.loads((toy / "s" / "study.json").read_text())["threads"]
    assert environment["threads"] == int(os.environ["OMP_NUM_THREADS"])
