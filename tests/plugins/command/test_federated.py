"""Tests of federated training: its equations by hand, equality with central training, failures, and resumption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from gankit import GankitError, InputError, Recipe, load_dataset, prepare, read_prepared, resume, train
from gankit.report.comparison import compare_runs
from gankit.report.run_record import read_run
from gankit.testing.checks import check_command, check_documentation
from gankit_plugins.command import federated_training
from gankit_plugins.command.federated import FederatedCommand, command
from gankit_plugins.command.federated_averaging import split_rows, weighted_mean
from gankit_plugins.command.federated_training import mean_losses
from gankit_plugins.command.flower_client import client_app, train_round
from gankit_plugins.layers.round_file import load_tensors, read_round, write_round

POINTS = """
name = "points"
[train]
iterations = 12
batch_size = 8
device = "cpu"
[output]
log_every = 5
sample_every = 20
checkpoint_every = 5
sample_count = 6
[evaluation]
count = 40
[data]
use = "gaussian_ring"
count = 60
std = 0.05
[latent]
use = "normal"
size = 2
[generator]
use = "mlp"
hidden = [8]
[discriminator]
use = "mlp"
hidden = [8]
[tricks.moving_average]
decay = 0.9
[tricks.csv]
"""


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.toml"
    path.write_text(POINTS)
    return path


@pytest.fixture
def shapes(plain_recipe, tmp_path):
    """Recipe of images with two classes, batch norm and metrics."""
    recipe = plain_recipe("igan") | {"evaluation": {"count": 8}, "extractor": {"use": "pixels"}}
    recipe["metrics"] = {"frechet_distance": {}}
    recipe["output"] = recipe["output"] | {"keep_best": "frechet_distance", "patience": 5}
    path = tmp_path / "shapes.toml"
    path.write_text(Recipe.from_dict(recipe).to_toml())
    return path


def federated(*arguments):
    """Run the command in this process, and return its output. Errors are raised."""
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def results(out):
    """Return the bytes of all files that are the result of a training, by path."""
    files = [*out.rglob("*.safetensors"), *out.glob("samples/*.png"), out / "federated.json", out / "recipe.toml"]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Equations


def test_mean_is_weighted_by_the_numbers_of_samples():
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([4.0, -2.0]), "n": torch.tensor(5)},
        {"w": torch.tensor([0.0, 10.0]), "n": torch.tensor(7)},
    ]
    mean = weighted_mean(states, [1, 2, 5])
    assert mean["w"].tolist() == [(1 + 2 * 4) / 8, (2 - 2 * 2 + 5 * 10) / 8]
    assert (mean["w"].dtype, mean["n"].item()) == (torch.float32, 3)


def test_mean_of_equal_clients_is_exact():
    state = {"w": torch.randn(1000) * 10.0 ** torch.randint(-20, 20, (1000,)), "h": torch.randn(100).bfloat16()}
    assert equal(weighted_mean([state], [7]), state)
    assert equal(weighted_mean([state] * 3, [1, 3, 7]), state)


def test_losses_are_weighted_in_the_same_way():
    losses = [{"generator": {"a": 1.0}}, {"generator": {"a": 4.0}}]
    assert mean_losses(losses, [1, 3]) == {"generator": {"a": 3.25}}


@pytest.mark.parametrize("split", ["equal", "classes", "amounts"])
@pytest.mark.parametrize(("count", "clients"), [(10, 1), (10, 4), (101, 7), (28, 7)])
def test_each_row_belongs_to_one_client(split, count, clients):
    labels = torch.arange(count) % 5
    parts = split_rows(count, labels, clients, split, seed=3)
    assert len(parts) == clients
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)
    sizes = [len(part) for part in parts]
    unit = clients * (clients + 1) / 2
    expected = [count * k / unit if split == "amounts" else count / clients for k in range(1, clients + 1)]
    assert all(abs(size - right) < 1 for size, right in zip(sizes, expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(parts, split_rows(count, labels, clients, split, 3), strict=True))


def test_parts_by_class_have_few_classes():
    labels = torch.arange(1000) % 10
    classes = [set(labels[part].tolist()) for part in split_rows(1000, labels, 5, "classes", 0)]
    assert classes == [{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}]
    for part in split_rows(1000, labels, 5, "equal", 0):
        assert labels[part].bincount().tolist() == [20] * 10
    # Data without classes are divided in the same way.
    assert [len(part) for part in split_rows(10, None, 4, "equal", 0)] == [3, 3, 2, 2]


def test_impossible_parts_are_refused():
    with pytest.raises(InputError, match="no classes"):
        split_rows(10, None, 2, "classes", 0)
    for split in ("equal", "amounts"):
        with pytest.raises(InputError, match="a client has none"):
            split_rows(3, None, 4, split, 0)


# Files


def test_file_of_a_round(tmp_path):
    path, shared = tmp_path / "a.safetensors", torch.arange(6.0)
    write_round(path, {"generator/a": shared, "generator/b": shared[::2]}, 3)
    tensors, number = read_round(path)
    assert number == 3
    assert tensors["generator/b"].tolist() == [0, 2, 4]
    networks = {"generator": torch.nn.Linear(2, 2)}
    with pytest.raises(InputError, match="does not fit the recipe"):
        load_tensors(networks, tensors)
    with pytest.raises(InputError, match="does not have"):
        load_tensors({}, tensors)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="may be truncated"):
        read_round(path)
    with pytest.raises(InputError, match="does not exist"):
        read_round(tmp_path / "none")


# Trainings


def test_plugin_passes_its_checks():
    check_documentation(FederatedCommand)
    check_command(FederatedCommand)


@pytest.mark.parametrize("recipe", ["points", "shapes"])
def test_one_client_is_central_training(recipe, tmp_path, request):
    recipe, out = request.getfixturevalue(recipe), tmp_path / "out"
    federated(recipe, "--clients", 1, "--rounds", 2, "--out", out, "seed=5")
    central = train(Recipe.load(recipe, ["seed=5"]), tmp_path / "central").path
    assert equal(load_file(out / "generator.safetensors"), load_file(central / "generator.safetensors"))
    newest, last = sorted((out / "client_1" / "checkpoints").iterdir())[-1], sorted(central.glob("checkpoints/*"))[-1]
    assert newest.name == last.name
    for part in ("generator", "discriminator", "optimizer", "random"):
        assert equal(load_file(newest / f"{part}.safetensors"), load_file(last / f"{part}.safetensors"))


def test_average_and_log(shapes, tmp_path):
    out = tmp_path / "out"
    output = federated(shapes, "--clients", 3, "--rounds", 2, "--split", "amounts", "--out", out)
    assert "round 2/2  average of 3 clients  frechet_distance" in output
    assert json.loads((out / "federated.json").read_text())["images"] == [2, 4, 6]
    clients = [out / f"client_{k}" for k in (1, 2, 3)]
    rows = [read_prepared(out / f"data_{k}.safetensors").read().images for k in (1, 2, 3)]
    whole = load_dataset(Recipe.load(shapes).components["data"].to_dict(), "test").read().images
    assert sorted(str(one.tolist()) for one in torch.cat(rows)) == sorted(str(one.tolist()) for one in whole)
    states = [load_file(client / "update.safetensors") for client in clients]
    average, number = read_round(out / "average.safetensors")
    assert number == 3
    assert {name.partition("/")[0] for name in average} == {"generator", "discriminator"}
    for name, tensor in average.items():
        a, b, c = (state[name] for state in states)
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (2 * a + 4 * b + 6 * c) / 12)
    # The clients draw different z and batches.
    assert not equal(states[0], states[1])
    record = read_run(out)
    assert [iteration for curve in record.metrics.values() for iteration, _ in curve] == [2, 4]
    assert record.plugin_values["clients"] == [(2, 3.0), (4, 3.0)]
    assert (record.ending.state, record.ending.iteration) == ("finished", 4)
    assert record.losses.keys() == read_run(clients[0]).losses.keys()
    assert list(record.grids) == [2, 4]
    train(Recipe.load(shapes), tmp_path / "central")
    comparison = compare_runs([record, read_run(tmp_path / "central")])
    assert len(comparison.rows) == 2


def test_only_the_generator_is_averaged(points, tmp_path):
    out = tmp_path / "out"
    federated(points, "--clients", 2, "--rounds", 2, "--average", "generator", "--out", out)
    average, _ = read_round(out / "average.safetensors")
    assert {name.partition("/")[0] for name in average} == {"generator"}
    one, other = (
        load_file(out / f"client_{k}" / "checkpoints" / "000006" / "discriminator.safetensors") for k in (1, 2)
    )
    assert not equal(one, other)


def test_round_starts_from_the_average(points, tmp_path, monkeypatch):
    started = []

    def recorded(networks, tensors):
        load_tensors(networks, tensors)
        started.append({name: tensor.clone() for name, tensor in networks["generator"].state_dict().items()})

    monkeypatch.setattr("gankit_plugins.trick.federated.load_tensors", recorded)
    federated(points, "--clients", 3, "--rounds", 3, "--out", tmp_path / "out")
    assert len(started) == 9
    for number in range(3):
        assert all(equal(started[3 * number], one) for one in started[3 * number : 3 * number + 3])
    assert not equal(started[0], started[3])


def test_same_seed_gives_the_same_bytes(points, tmp_path):
    outs = [tmp_path / name / "out" for name in "abc"]
    for out, seed in zip(outs, (1, 1, 2), strict=True):
        federated(points, "--clients", 2, "--rounds", 2, "--out", out, f"seed={seed}")
    one, other, third = ({k: v for k, v in results(out).items() if "recipe.toml" not in k} for out in outs)
    # Generator files contain the recipe, with the path of the average.
    names = [name for name in one if not name.startswith("client_") or "/checkpoints/" in name]
    assert len(names) > 10
    assert all(one[name] == other[name] for name in names)
    assert one["generator.safetensors"] != third["generator.safetensors"]


def failing(client, rounds, error):
    """Return a function like `train_client` that raises an error for one client in some rounds."""
    original = federated_training.train_client

    def train_client(recipe, path, number):
        if path.name == f"client_{client}" and number in rounds:
            raise error
        return original(recipe, path, number)

    return train_client


def test_round_goes_on_without_a_client_that_fails(points, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(federated_training, "train_client", failing(2, [2], RuntimeError("no power")))
    arguments = [points, "--clients", 3, "--rounds", 3, "--split", "amounts", "--out", out]
    assert "warning: round 2: client 2 failed and is left out of the average: no power" in federated(*arguments)
    assert [row["values"]["clients"] for row in log(out) if "values" in row] == [3, 2, 3]
    assert read_run(out).warnings == [(8, "round 2: client 2 failed and is left out of the average: no power")]
    assert "--rounds" not in (out / "client_2" / "log.jsonl").read_text()
    # Client 2 has trained two rounds of four iterations, the others three.
    newest = [max(one.name for one in (out / f"client_{k}" / "checkpoints").iterdir()) for k in (1, 2, 3)]
    assert newest == ["000012", "000008", "000012"]
    states = [load_file(out / f"client_{k}" / "update.safetensors") for k in (1, 2, 3)]
    assert equal(read_round(out / "average.safetensors")[0], weighted_mean(states, [10, 20, 30]))


def test_client_that_diverges_or_stops_early_fails(points, tmp_path):
    stopper = tmp_path / "stopper.py"
    stopper.write_text(
        "from gankit import GankitError, Plugin, hookimpl\n"
        "class Stopper(Plugin):\n"
        '    name = "stopper"\n'
        "    @hookimpl\n"
        "    def after_iteration(self, run):\n"
        "        if run.recipe.seed != 0 and run.iteration == 6:\n"
        '            run.stop("enough")\n'
        "        if run.recipe.seed != 0 and run.iteration == 9:\n"
        '            raise GankitError("broken")\n'
    )
    out = tmp_path / "out"
    output = federated(
        points, "--clients", 2, "--rounds", 3, "--out", out, f"tricks.stopper.use={stopper}:Stopper", "seed=0"
    )
    assert "round 2: client 2 failed and is left out of the average: the run ended before the end" in output
    assert "enough" in output
    assert "round 3: client 2 failed and is left out of the average: broken" in output
    assert [row["values"]["clients"] for row in log(out) if "values" in row] == [2, 1, 1]


def test_training_ends_if_all_clients_fail(points, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(federated_training, "train_client", failing(1, [2], RuntimeError("no power")))
    with pytest.raises(GankitError, match="all clients failed in round 2"):
        federated(points, "--clients", 1, "--rounds", 2, "--out", out)
    monkeypatch.undo()
    monkeypatch.setattr(federated_training, "train_client", failing(1, [2], InputError("locked")))
    with pytest.raises(InputError, match="locked"):
        federated(points, "--clients", 1, "--rounds", 2, "--out", out)
    monkeypatch.undo()
    federated(points, "--clients", 1, "--rounds", 2, "--out", out)
    assert read_run(out).warnings == []


# Resumption


class StopError(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Recipe, folder, results and log of a training that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "points.toml").write_text(POINTS)
    out = folder / "out"
    federated(folder / "points.toml", "--clients", 2, "--rounds", 2, "--out", out)
    expected, rows = results(out), log(out)
    return folder / "points.toml", out, expected, rows


@pytest.mark.parametrize(
    ("place", "calls"),
    [("prepare", 2), ("write_bytes", 5), ("write_round", 1)],
)
def test_training_that_ends_at_any_place_is_continued(whole, monkeypatch, place, calls):
    points, out, expected, rows = whole
    shutil.rmtree(out)
    arguments = [points, "--clients", 2, "--rounds", 2, "--out", out]
    made, function = [], getattr(federated_training, place)

    def stopping(*given, **named):
        made.append(place)
        if len(made) == calls:
            raise StopError
        return function(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(federated_training, place, stopping)
        with pytest.raises(StopError):
            federated(*arguments)
    federated(*arguments)
    assert results(out) == expected
    assert [row["iteration"] for row in log(out)] == [row["iteration"] for row in rows]
    assert [row.get("metrics") for row in log(out)] == [row.get("metrics") for row in rows]


def test_complete_training_is_shown_again(whole):
    points, out, expected, _ = whole
    assert "2 of 2 rounds are done" in federated(points, "--clients", 2, "--rounds", 2, "--out", out)
    assert results(out) == expected


def test_killed_training_ends_with_the_same_bytes(whole):
    points, out, expected, _ = whole
    shutil.rmtree(out)
    arguments = [points, "--clients", "2", "--rounds", "2", "--out", out]
    code = "from gankit_plugins.command.federated import command; command()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("client_2/checkpoints/000005")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    federated(*arguments)
    assert results(out) == expected


def test_interrupted_training_says_how_to_continue(points, tmp_path, monkeypatch):
    monkeypatch.setattr(federated_training, "train_client", failing(1, [1], KeyboardInterrupt()))
    result = CliRunner().invoke(command, [str(points), "--rounds", "2", "--out", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "repeat the command to continue" in result.output


def test_moved_training_is_continued(points, tmp_path, monkeypatch):
    out, moved = tmp_path / "out", tmp_path / "moved"
    with monkeypatch.context() as patch:
        patch.setattr(federated_training, "train_client", failing(2, [2], StopError()))
        with pytest.raises(StopError):
            federated(points, "--clients", 2, "--rounds", 3, "--out", out)
    out.rename(moved)
    federated(points, "--clients", 2, "--rounds", 3, "--out", moved)
    assert [row["values"]["clients"] for row in log(moved) if "values" in row] == [2, 2, 2]


def test_run_of_a_client_does_not_continue_by_itself(points, tmp_path):
    out = tmp_path / "out"
    federated(points, "--clients", 1, "--rounds", 2, "--out", out)
    # Return to the state before round 2.
    average, _ = read_round(out / "average.safetensors")
    write_round(out / "average.safetensors", average, 1)
    client = tmp_path / "client"
    trained = train(
        Recipe.load(out / "client_1" / "recipe.toml", [f"tricks.federated.file={out / 'average.safetensors'}"]),
        client,
    )
    assert (trained.iterations, trained.stop_reason.partition(";")[0]) == (6, "round 1 is complete")
    update = (client / "update.safetensors").read_bytes()
    trained = resume(client)
    assert (trained.iterations, trained.stop_reason.partition(";")[0]) == (6, "round 1 is complete")
    assert (client / "update.safetensors").read_bytes() == update
    write_round(out / "average.safetensors", average, 2)
    assert resume(client).iterations == 12


# Data of each client, and wrong arguments


def test_clients_with_their_own_data(shapes, tmp_path):
    parts, raw = [], Recipe.load(shapes).components["data"].to_dict()
    for name, count in (("a", 12), ("b", 6), ("all", 18)):
        parts.append(tmp_path / f"{name}.safetensors")
        prepare(load_dataset(raw | {"count": count}, "test"), parts[-1], "test")
    recipe = Recipe.load(shapes, ["data.use=images", f"data.path={parts[2]}"], ["data"])
    path, out = tmp_path / "own.toml", tmp_path / "out"
    path.write_text(recipe.to_toml())
    federated(path, "--data", parts[0], "--data", parts[1], "--rounds", 2, "--out", out)
    assert json.loads((out / "federated.json").read_text())["images"] == [12, 6]
    assert not (out / "data_1.safetensors").exists()
    prepare(load_dataset(raw | {"kinds": ["ring"]}, "test"), tmp_path / "c.safetensors", "test")
    with pytest.raises(InputError, match="all clients need those of the recipe's data"):
        federated(
            path, "--data", parts[0], "--data", tmp_path / "c.safetensors", "--rounds", 2, "--out", tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clients", 0], "--clients 0: too small"),
        (["--rounds", 0], "--rounds 0: too small"),
        (["--rounds", 5], "--rounds 5: train.iterations = 12 is not a multiple"),
        (["--clients", 61, "--rounds", 1], "a client has none"),
        (["--split", "classes", "--rounds", 1], "--split classes: the data have no classes"),
        (["--data", "x", "--clients", 3], "--clients 3: --data is given for 1 clients"),
        (["--data", "x", "--split", "amounts"], "--split amounts: with --data"),
        (["--data", "x", "--rounds", 1], "data.path"),
        (["--rounds", 1, "generator.use=none_such"], "none_such"),
    ],
)
def test_wrong_arguments_write_nothing(points, tmp_path, arguments, message):
    out = tmp_path / "out"
    result = CliRunner().invoke(command, [str(points), "--out", str(out), *map(str, arguments)])
    assert isinstance(result.exception, InputError), result.exception
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not out.exists()


def test_balanced_classes_need_all_classes(shapes, tmp_path):
    arguments = [shapes, "--split", "classes", "--clients", 2, "--rounds", 1, "--out", tmp_path / "out"]
    with pytest.raises(InputError, match="client 1 has no image of class ring, and every batch needs all classes"):
        federated(*arguments, "train.class_balanced=true")
    assert not (tmp_path / "out").exists()
    federated(*arguments)


def test_torchrun_is_refused(points, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without torchrun"):
        federated(points)


def test_other_folders_and_settings_are_refused(points, tmp_path):
    folder, out = tmp_path / "notes", tmp_path / "out"
    folder.mkdir()
    (folder / "note.txt").write_text("mine")
    for wrong, message in ((folder, "holds no federated training"), (folder / "note.txt", "is a file")):
        with pytest.raises(InputError, match=message):
            federated(points, "--rounds", 1, "--out", wrong)
    (folder / "federated.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        federated(points, "--rounds", 1, "--out", folder)
    federated(points, "--clients", 1, "--rounds", 1, "--out", out)
    for arguments, message in (
        (["--clients", 2], "clients is 1 in the training and 2 now"),
        (["--clients", 1, "train.batch_size=4"], "train.batch_size is 8 in the training and 4 now"),
    ):
        with pytest.raises(InputError, match=message):
            federated(points, "--rounds", 1, "--out", out, *arguments)


def test_command_line(points, tmp_path):
    arguments = [str(points), "--clients", "2", "--rounds", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "gankit", "federated", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "average of 2 clients" in done.stdout


# Flower


def test_round_of_a_flower_client(points, tmp_path):
    recipe, out = Recipe.load(points), tmp_path / "out"
    federated(points, "--clients", 1, "--rounds", 2, "--out", out)
    with federated_training.Session(federated_training.server_recipe(recipe)) as session:
        tensors = federated_training.averaged_tensors(session.run.networks, "both")
    folder = tmp_path / "node"
    for number in (1, 2):
        tensors, count = train_round(recipe, folder, tensors, number, 6, "both")
    assert count == 60
    assert equal(tensors, load_file(out / "client_1" / "update.safetensors"))


def test_missing_flower_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    with pytest.raises(InputError, match=r"Flower cannot be imported .* docs/federated\.md"):
        client_app()
