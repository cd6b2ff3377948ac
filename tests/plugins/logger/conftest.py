"""Runs with every logger in them, and what the libraries themselves read in what was written."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w
from mlflow import MlflowClient
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.launch import resume, start
from tests.plugins.conftest import UNCONDITIONAL, Listener

TALKS = Path(__file__).with_name("talks.py")
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
OF_THE_CLOCK = {"seconds", "images_per_second", "measuring/seconds"}


def recipe_with(*loggers, talks=None, **settings):
    """Checkpoint at 4, grid and measures of both kinds at 5 and 7, advice at 2 and 5, a row for each iteration of 7."""
    tricks = {"talks": {"use": f"{TALKS}:Talks", **(talks or {})}}
    tricks |= {name: settings.get(name, {}) for name in loggers}
    changes = {
        "name": "logged",
        "train": {"iterations": 7, "discriminator_steps": 1},
        "output": {"log_every": 1, "checkpoint_every": 4, "sample_every": 5},
        "tricks": tricks,
        "extractor": {"use": "pixels"},
        "metrics": {"frechet_distance": {}},
        "evaluation": {"count": 8, "every": 5, "budget": 1.0},
    }
    return merge(UNCONDITIONAL, changes)


def play(raw, out):
    """The run directory, and what was advised."""
    listener = Listener()
    return start(Recipe.from_dict(raw), out, listener, lambda sentence: None)[0].path, listener.advice


def go_on(out, *overrides):
    listener = Listener()
    resume(out, overrides, listener, lambda sentence: None)
    return listener.advice


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def numbers_of_log(run):
    """{name: [(iteration, value), ...]} of log.jsonl, worked out here anew."""
    found = {}
    for row in log_of(run):
        numbers = {k: row[k] for k in ("seconds", "images_per_second") if k in row and "metrics" not in row}
        if "protocol" in row:
            numbers["measuring/seconds"] = row["seconds"]
        numbers |= {f"learning_rate/{player}": rate for player, rate in row.get("learning_rate", {}).items()}
        for player, terms in row.get("loss", {}).items():
            numbers |= {f"loss/{player}/{term}": value for term, value in terms.items()}
        numbers |= {f"measures/{name}": value for name, value in row.get("metrics", {}).items()}
        for name, value in numbers.items():
            found.setdefault(name, []).append((row["iteration"], value))
    return found


def advice_in_log(run):
    return [(row["iteration"], row["warning"]) for row in log_of(run) if "warning" in row]


def read_csv(run):
    found = {}
    with open(run / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["iteration"] for row in rows}) == len(rows)
    for row in rows:
        for name, value in row.items():
            if name != "iteration" and value:
                found.setdefault(name, []).append((int(row["iteration"]), float(value)))
    return found


def tensorboard_of(run):
    everything = dict.fromkeys(("scalars", "images", "tensors"), 0)
    return EventAccumulator(str(run / "tensorboard"), size_guidance=everything).Reload()


def texts_in_tensorboard(run):
    """[(step, text), ...] as TensorBoard's text tab reads them; the plain accumulator forgets no tensors."""
    events = plugin_event_accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    return [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors("advice/text_summary")]


def read_tensorboard(run):
    events = tensorboard_of(run)
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def mlflow_of(run):
    """A client, and what it says of the run."""
    uri = Recipe.load(run / "recipe.toml").parts["tricks.mlflow"].config.uri
    client = MlflowClient(uri or f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    found = client.get_run(json.loads((run / "mlflow" / "gankit.json").read_text())["run"])
    same = client.search_runs([found.info.experiment_id], f"attributes.run_name = '{run.name}'")
    assert [r.info.run_id for r in same] == [found.info.run_id]
    return client, found


def read_mlflow(run):
    client, only = mlflow_of(run)
    histories = {name: client.get_metric_history(only.info.run_id, name) for name in only.data.metrics}
    return {name: sorted((m.step, m.value) for m in history) for name, history in histories.items()}


def wandb_records(run):
    """The records of every process, in order; the files are logs of LevelDB's format with a header of wandb's."""
    paths = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    sizes = None
    # A helper of wandb's writes them, in its own time.
    while sizes != (sizes := [path.stat().st_size for path in paths]):
        time.sleep(0.3)
    for path in paths:
        data = path.read_bytes()
        assert data[:4] == b":W&B"
        position, record = 7, b""
        while position < len(data):
            if 32768 - position % 32768 < 7:
                position += 32768 - position % 32768
                continue
            length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
            record += data[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # whole, or the last of several pieces
                yield wandb_internal_pb2.Record.FromString(record)
                record = b""


def wandb_rows(run):
    rows = []
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def read_wandb(run):
    found = {}
    for row in wandb_rows(run):
        for name, value in row.items():
            if isinstance(value, int | float) and name != "iteration" and not name.startswith(("_", "samples/")):
                found.setdefault(name, []).append((row["iteration"], value))
    return found


READ = {"csv": read_csv, "tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


@dataclass
class Played:
    run: Path
    advice: list[str]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run with every logger that nothing happens to."""
    return Played(*play(recipe_with(*LOGGERS), tmp_path_factory.mktemp("loggers") / "whole"))


@pytest.fixture(scope="session")
def shared(whole):
    """Settings of a database that is there already: MLflow takes seconds to make one."""
    return {"mlflow": {"uri": f"sqlite:///{whole.run / 'mlflow' / 'mlflow.db'}", "grids": False}}


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """The same, killed at iteration 6 and resumed from 4. The first process is watched, lest it ask a network."""
    folder = tmp_path_factory.mktemp("loggers")
    recipe = folder / "logged.toml"
    recipe.write_text(tomli_w.dumps(recipe_with(*LOGGERS, talks={"kill": 6})))
    asked = folder / "asked"
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = "http://{}:{}".format(*proxy.getsockname())
        everything = {f"{scheme}_proxy": address for scheme in ("http", "https", "all")}
        environment = os.environ | everything | {k.upper(): v for k, v in everything.items()}
        environment |= {"GANKIT_TEST_NO_NETWORK": str(asked), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        # Where MLflow sees one of the first two it is quiet anyway; the third leads wandb to this process's helper.
        for name in ("PYTEST_CURRENT_TEST", "CI", "WANDB_SERVICE"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "gankit", "run", recipe, "--quiet", "--out", folder / "run"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == -9, done.stderr
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert not asked.exists(), asked.read_text()
    return Played(folder / "run", go_on(folder / "run"))
