"""Runs with all loggers, and readers of what they wrote, by the services' own libraries."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
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
from gankit.training.reporter import Reporter
from tests.plugins.conftest import UNCONDITIONAL

WARNER = Path(__file__).with_name("warner.py")
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
TIMES = {"seconds", "images_per_second", "evaluation/seconds"}


def recipe_with(*loggers, warner=None, **settings):
    """Return a recipe: checkpoint at 4, grid and metrics at 5 and 7, warnings at 2 and 5, a row for each iteration."""
    tricks = {"warner": {"use": f"{WARNER}:Warner", **(warner or {})}}
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


def train(raw, out):
    """Train a recipe; return the run directory and the warnings."""
    reporter, warnings = Reporter(), []
    reporter.warned = warnings.append
    return start(Recipe.from_dict(raw), out, reporter)[0].path, warnings


def continue_run(out):
    resume(out, (), Reporter())


def read_log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def numbers_of_log(run):
    """Return {name: [(iteration, value), ...]} of log.jsonl."""
    series = {}
    for row in read_log(run):
        numbers = {k: row[k] for k in ("seconds", "images_per_second") if k in row and "metrics" not in row}
        if "protocol" in row:
            numbers["evaluation/seconds"] = row["seconds"]
        numbers |= {f"learning_rate/{player}": rate for player, rate in row.get("learning_rate", {}).items()}
        numbers |= {f"gradient_norm/{player}": norm for player, norm in row.get("gradient_norm", {}).items()}
        for player, terms in row.get("loss", {}).items():
            numbers |= {f"loss/{player}/{term}": value for term, value in terms.items()}
        numbers |= {f"metrics/{name}": value for name, value in row.get("metrics", {}).items()}
        for name, value in numbers.items():
            series.setdefault(name, []).append((row["iteration"], value))
    return series


def read_csv(run):
    series = {}
    with open(run / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["iteration"] for row in rows}) == len(rows)
    for row in rows:
        for name, value in row.items():
            if name != "iteration" and value:
                series.setdefault(name, []).append((int(row["iteration"]), float(value)))
    return series


def read_events(run):
    unlimited = dict.fromkeys(("scalars", "images", "tensors"), 0)
    return EventAccumulator(str(run / "tensorboard"), size_guidance=unlimited).Reload()


def texts_in_tensorboard(run):
    """Return [(step, text), ...] as TensorBoard's text tab does. The other accumulator keeps purged texts."""
    events = plugin_event_accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    return [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors("warning/text_summary")]


def read_tensorboard(run):
    events = read_events(run)
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def mlflow_run(run):
    """Return a client and its run."""
    uri = Recipe.load(run / "recipe.toml").components["tricks.mlflow"].config.uri
    client = MlflowClient(uri or f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    info = client.get_run(json.loads((run / "mlflow" / "gankit.json").read_text())["run"])
    runs = client.search_runs([info.info.experiment_id], f"attributes.run_name = '{run.name}'")
    assert [r.info.run_id for r in runs] == [info.info.run_id]
    return client, info


def mlflow_artifacts(run):
    return Path(mlflow_run(run)[1].info.artifact_uri.removeprefix("file://"))


def read_mlflow(run):
    client, info = mlflow_run(run)
    histories = {name: client.get_metric_history(info.info.run_id, name) for name in info.data.metrics}
    return {name: sorted((m.step, m.value) for m in history) for name, history in histories.items()}


def wandb_records(run):
    """Yield the records of all processes in order. The files are LevelDB logs with a header by wandb."""
    paths = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    sizes = None
    # A helper process of wandb writes them later.
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
            if kind in (1, 4):  # complete, or the last part
                yield wandb_internal_pb2.Record.FromString(record)
                record = b""


def wandb_ids(run):
    """Return the identifier of the run that each process used."""
    return [record.run.run_id for record in wandb_records(run) if record.WhichOneof("record_type") == "run"]


def wandb_rows(run):
    rows = []
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def read_wandb(run):
    series = {}
    for row in wandb_rows(run):
        for name, value in row.items():
            if isinstance(value, int | float) and name != "iteration" and not name.startswith(("_", "samples/")):
                series.setdefault(name, []).append((row["iteration"], value))
    return series


READ = {"csv": read_csv, "tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """A run that is killed at iteration 6 and resumed from 4. Network access of the first process is an error."""
    folder = tmp_path_factory.mktemp("loggers")
    recipe = folder / "logged.toml"
    recipe.write_text(tomli_w.dumps(recipe_with(*LOGGERS, warner={"kill": 6})))
    connections = folder / "connections"
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = "http://{}:{}".format(*proxy.getsockname())
        proxies = {f"{scheme}_proxy": address for scheme in ("http", "https", "all")}
        environment = os.environ | proxies | {k.upper(): v for k, v in proxies.items()}
        environment |= {"GANKIT_TEST_NO_NETWORK": str(connections), "HOME": str(folder), "WANDB_MODE": "online"}
        # The first two disable MLflow's telemetry; the third connects wandb to this process's helper.
        for name in ("PYTEST_CURRENT_TEST", "CI", "WANDB_SERVICE"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "gankit", "run", recipe, "--quiet", "--out", folder / "run"]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert process.returncode == -9, process.stderr
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert not connections.exists(), connections.read_text()
    continue_run(folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def shared(killed):
    """Settings of an existing database. MLflow takes seconds to create one."""
    return {"mlflow": {"uri": f"sqlite:///{killed / 'mlflow' / 'mlflow.db'}"}}
