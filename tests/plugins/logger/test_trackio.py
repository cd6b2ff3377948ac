"""The logger `trackio`, with its library if that is installed."""

import shutil
import socket
import sys
from io import BytesIO

import pytest
from PIL import Image

from gankit import InputError, Recipe
from gankit.training.assembly import assemble
from gankit_plugins.logger.trackio import strict
from gankit_plugins.logger.upload_state import UploadState
from tests.plugins.logger.conftest import continue_run, numbers_of_log, read_log, recipe_with, train


def test_a_missing_library_is_an_error_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    message = r"tricks.trackio: trackio is not installed; run `pip install 'gankit\[trackio\]'`"
    with pytest.raises(InputError, match=message):
        assemble(Recipe.from_dict(recipe_with("trackio")))


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Trackio's storage in a new folder. Trackio reads the folder's name when it is imported."""
    pytest.importorskip("huggingface_hub")
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
            patch.delitem(sys.modules, name)
        pytest.importorskip("trackio")
        from trackio.sqlite_storage import SQLiteStorage

        yield SQLiteStorage


@pytest.fixture
def connections(monkeypatch):
    """Addresses to which this process connects. Each connection is an error. The user is logged in to Hugging Face."""
    addresses = []
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        addresses.append(address)
        raise OSError(f"{address}: no network in this test")

    def refuse_name(host, *more, **names):
        addresses.append(host)
        raise OSError(f"{host}: no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_name)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return addresses


def names(storage, project="logged"):
    return [record["name"] for record in storage.get_run_records(project)]


def logs(storage, run):
    """Return Trackio's rows of the run in a run directory."""
    return storage.get_logs("logged", UploadState(run / "trackio" / "gankit.json").run_id)


def numbers(storage, run):
    series = {}
    for row in logs(storage, run):
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "timestamp"):
                series.setdefault(name, []).append((row["step"], value))
    return series


@pytest.fixture
def interrupted(storage, tmp_path, connections, capfd):
    """A run that was interrupted in iteration 3, started again without a checkpoint, and resumed from iteration 3."""
    before = len(names(storage))
    run, _ = train(recipe_with("trackio", warner={"interrupt": 3}), tmp_path / "first")
    shutil.rmtree(run / "checkpoints")
    (run / "generator.safetensors").unlink(missing_ok=True)
    for _ in range(2):
        continue_run(run)
    assert len(names(storage)) == before + 1
    assert connections == []
    assert capfd.readouterr().out == ""
    return run


def test_a_run_that_is_repeated_and_resumed_is_one_run_with_the_rows_of_the_log(interrupted, storage):
    logged, log = numbers(storage, interrupted), numbers_of_log(interrupted)
    assert [step for step, _ in logged["loss/discriminator/adversarial"]] == [1, 2, 3, 4, 5, 6, 7]
    times = ("seconds", "images_per_second", "evaluation/seconds")
    assert {k: v for k, v in logged.items() if k not in times} == {k: v for k, v in log.items() if k not in times}
    name = UploadState(interrupted / "trackio" / "gankit.json").run_id
    assert name.startswith("first-")

    grids = {int(p.stem): Image.open(p).convert("RGB").tobytes() for p in (interrupted / "samples").glob("*.png")}
    from trackio.utils import MEDIA_DIR

    images = {
        row["step"]: MEDIA_DIR / row["samples"]["file_path"] for row in logs(storage, interrupted) if "samples" in row
    }
    shown = {step: Image.open(BytesIO(path.read_bytes())).convert("RGB").tobytes() for step, path in images.items()}
    assert shown == grids
    assert {5, 7} < set(grids)

    alerts = [(a["step"], a["text"]) for a in storage.get_alerts("logged", run_name=name)]
    assert sorted(alerts) == [(row["iteration"], row["warning"]) for row in read_log(interrupted) if "warning" in row]
    config = storage.get_run_config("logged", name)
    assert config["output"]["checkpoint_every"] == 4


def test_a_second_run_of_the_same_name_is_another_run(storage, tmp_path, monkeypatch):
    """Train two runs whose directories have the same name. The second also has a logger that fails, and no grids."""
    first, _ = train(recipe_with("trackio"), tmp_path / "a" / "same")
    with monkeypatch.context() as patch:
        real = UploadState.record

        def broken(self, kind, iteration):
            real(self, kind, iteration)
            if iteration == 2:
                raise OSError("no")

        patch.setattr(UploadState, "record", broken)
        recipe = recipe_with("trackio", trackio={"grids": False})
        second, warnings = train(recipe, tmp_path / "b" / "same")
    assert any(sentence.startswith("trackio has failed") for sentence in warnings)
    continue_run(second)
    for run in (first, second):
        assert numbers(storage, run) == numbers_of_log(run)
    assert not any("samples" in row for row in logs(storage, second))


def test_a_project_name_that_trackio_refuses_is_an_error_before_training(storage, tmp_path):
    with pytest.raises(InputError, match=r"tricks\.trackio: trackio cannot start: Project name 'my_system' is not"):
        train(recipe_with("trackio", trackio={"project": "my_system"}), tmp_path / "run")


def test_errors_of_trackio_are_raised(storage):
    import trackio

    assert "log" in dir(trackio)
    with pytest.raises(RuntimeError, match="it is broken"), strict():
        trackio.utils._emit_nonfatal_warning("it is broken")
