"""All loggers have the content of log.jsonl, also after failures, and do not change the training."""

import json
import shutil
import sys
from io import BytesIO

import pytest
import wandb
from PIL import Image

from gankit import InputError, Recipe, Session
from gankit.training.assembly import assemble
from gankit_plugins.logger.logger import flatten, scalars
from gankit_plugins.logger.tensorboard import TensorBoard
from gankit_plugins.logger.upload_state import UploadState
from tests.plugins.logger.conftest import (
    LOGGERS,
    READ,
    TIMES,
    continue_run,
    mlflow_artifacts,
    mlflow_run,
    numbers_of_log,
    read_csv,
    read_events,
    read_log,
    recipe_with,
    texts_in_tensorboard,
    train,
    wandb_ids,
    wandb_records,
    wandb_rows,
)

LAST = "checkpoints/000007"


def rounded(numbers):
    """Return numbers with the tolerance of 32 bits, which TensorBoard stores."""
    return {n: [(step, pytest.approx(value, rel=1e-6)) for step, value in series] for n, series in numbers.items()}


def without_times(numbers):
    return {name: series for name, series in numbers.items() if name not in TIMES}


@pytest.mark.parametrize("logger", LOGGERS)
def test_numbers_of_a_killed_run_equal_the_log(logger, killed):
    """The services have the times of the killed process, which logged the same rows as the resumed one otherwise."""
    numbers, log = READ[logger](killed), numbers_of_log(killed)
    if logger in ("wandb", "mlflow"):
        assert [iteration for iteration, _ in numbers["seconds"]] == [1, 2, 3, 4, 5, 6, 7]
        numbers, log = without_times(numbers), without_times(log)
    assert numbers == rounded(log)
    assert [iteration for iteration, _ in numbers["loss/discriminator/adversarial"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [iteration for iteration, _ in numbers["metrics/brightness"]] == [5, 7]


def test_warnings_are_logged_once(killed):
    warnings = [(row["iteration"], row["warning"]) for row in read_log(killed) if "warning" in row]
    assert [iteration for iteration, _ in warnings] == [2, 5]
    assert texts_in_tensorboard(killed) == warnings
    text = "".join(f"{iteration}: {sentence}\n" for iteration, sentence in warnings)
    assert (mlflow_artifacts(killed) / "warnings.txt").read_text() == text
    logged = [u.value_json for r in wandb_records(killed) for u in r.summary.update if u.key == "warning"]
    assert json.loads(logged[-1]) == text


def test_grids_are_logged_once(killed):
    grids = {p.name: Image.open(p).convert("RGB").tobytes() for p in (killed / "samples").glob("*.png")}
    assert sorted(grids) == ["000005.png", "000007.png"]
    images = read_events(killed).Images("samples")
    pixels = (Image.open(BytesIO(event.encoded_image_string)).tobytes() for event in images)
    assert {f"{event.step:06d}.png": one for event, one in zip(images, pixels, strict=True)} == grids
    files = (mlflow_artifacts(killed) / "samples").iterdir()
    assert {path.name: Image.open(path).convert("RGB").tobytes() for path in files} == grids
    rows = [row for row in wandb_rows(killed) if "samples/path" in row or "samples" in row]
    assert [row["iteration"] for row in rows] == [5, 7]
    media = killed.glob("wandb/offline-run-*/files/media/images/samples_*.png")
    assert sorted(Image.open(path).convert("RGB").tobytes() for path in media) == sorted(grids.values())


def test_the_recipe_is_logged(killed):
    recipe = Recipe.load(killed / "recipe.toml")
    events = read_events(killed)
    (text,) = events.Tensors("recipe/text_summary")
    assert recipe.to_toml() in text.tensor_proto.string_val[0].decode()
    assert events.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"
    _, info = mlflow_run(killed)
    assert info.data.params == {key: str(value) for key, value in flatten(recipe.to_dict(), ".").items()}
    assert info.info.run_name == "run"
    start = next(r.run for r in wandb_records(killed) if r.WhichOneof("record_type") == "run")
    assert (start.project, start.display_name) == ("logged", "run")
    config = {update.key: update.value_json for update in start.config.update}
    assert json.loads(config["output"])["checkpoint_every"] == 4


def test_mlflow_writes_into_the_run_directory_by_default(killed):
    assert mlflow_artifacts(killed).is_relative_to(killed / "mlflow" / "artifacts")


def test_a_resumed_run_has_the_same_wandb_id(killed):
    ids = wandb_ids(killed)
    assert len(ids) == 2
    assert len(set(ids)) == 1
    steps = [r.history.step.num for r in wandb_records(killed) if r.WhichOneof("record_type") == "history"]
    assert steps == list(range(11))


def test_loggers_do_not_change_the_training(killed, tmp_path):
    plain, _ = train(recipe_with(), tmp_path / "plain")
    names = [f"{file}.safetensors" for file in ("generator", "discriminator", "optimizer", "random", "plugins")]
    for name in names:
        assert (killed / LAST / name).read_bytes() == (plain / LAST / name).read_bytes(), name
    with_loggers, without = (json.loads((run / LAST / "state.json").read_text()) for run in (killed, plain))
    for state in (with_loggers, without):
        assert state.pop("sha256")
        state["settings"] = {k: v for k, v in state["settings"].items() if not k.startswith("tricks.")}
    assert with_loggers == without


def test_without_a_run_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Session(Recipe.from_dict(recipe_with(*LOGGERS))).train(1)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_continues(tmp_path, shared):
    run, _ = train(recipe_with(*LOGGERS, warner={"interrupt": 3}, **shared), tmp_path / "interrupted")
    for status in ("KILLED", "FINISHED"):
        assert mlflow_run(run)[1].info.status == status
        for logger in LOGGERS:
            assert READ[logger](run) == rounded(numbers_of_log(run)), logger
        continue_run(run)
    assert len(read_csv(run)["seconds"]) == 7


def test_a_run_without_checkpoints_starts_again(tmp_path, shared):
    """Resume after a kill before the first checkpoint, until the run is complete, and once more. The id stays."""
    run, _ = train(recipe_with(*LOGGERS, warner={"interrupt": 3}, **shared), tmp_path / "again")
    shutil.rmtree(run / "checkpoints")
    (run / "generator.safetensors").unlink(missing_ok=True)
    for stopped_at in (3, 7, 7):
        continue_run(run)
        assert read_log(run)[-1]["iteration"] == stopped_at
        for logger in LOGGERS:
            assert without_times(READ[logger](run)) == rounded(without_times(numbers_of_log(run))), logger
    assert len(set(wandb_ids(run))) == 1


def test_grids_can_be_disabled(tmp_path, shared):
    services = LOGGERS[1:]
    settings = {logger: {"grids": False} | shared.get(logger, {}) for logger in services}
    run, _ = train(recipe_with(*services, **settings), tmp_path / "no_grids")
    assert READ["wandb"](run) == numbers_of_log(run)
    assert read_events(run).Tags()["images"] == []
    assert not (mlflow_artifacts(run) / "samples").exists()
    assert not list((run / "wandb").rglob("*.png"))


# Errors


@pytest.mark.parametrize(("logger", "module"), [("tensorboard", "tensorboard"), ("mlflow", "sqlalchemy")])
def test_a_missing_library_is_an_error_before_training(logger, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"tricks.{logger}: {module} is not installed; run `pip install 'gankit\[{logger}\]'`"
    with pytest.raises(InputError, match=message):
        assemble(Recipe.from_dict(recipe_with(logger)))


def test_a_later_failure_warns_once_and_the_run_continues(tmp_path, monkeypatch):
    real = TensorBoard.write

    def broken(self, row):
        if row["iteration"] == 3:
            raise OSError("the cable is out.\nAnd more")
        real(self, row)

    monkeypatch.setattr(TensorBoard, "write", broken)
    run, warnings = train(recipe_with("tensorboard"), tmp_path / "run")
    assert [sentence for sentence in warnings if "tensorboard" in sentence] == [
        "tensorboard has failed and stops logging: the cable is out. The run continues, and log.jsonl has every row; "
        "resume the run to start the logger again"
    ]
    assert [i for i, _ in READ["tensorboard"](run)["loss/discriminator/adversarial"]] == [1, 2]
    assert (run / "generator.safetensors").exists()


def test_a_failure_at_the_end_warns_too(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoard, "close", lambda self, run: 1 / 0)
    run, warnings = train(recipe_with("tensorboard"), tmp_path / "run")
    assert warnings[-1].startswith("tensorboard has failed and stops logging: division by zero.")
    assert read_log(run)[-1] == {"iteration": 7, "warning": warnings[-1]}


def test_a_failure_at_the_start_is_an_error_before_training(tmp_path):
    with pytest.raises(InputError, match=r"^recipe: tricks\.csv: csv cannot start: .*Is a directory"):
        train(recipe_with("csv", csv={"file": "."}), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_resume_sends_the_rows_that_a_failed_logger_missed(logger, tmp_path, monkeypatch, shared):
    real = UploadState.record

    def broken(self, kind, iteration):
        real(self, kind, iteration)
        if iteration == 2:
            raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(UploadState, "record", broken)
        run, warnings = train(recipe_with(logger, **shared), tmp_path / "missed")
    assert any(sentence.startswith(f"{logger} has failed") for sentence in warnings)
    assert [i for i, _ in READ[logger](run)["seconds"]] == [1, 2]
    wandb.teardown()  # as the end of the process would
    continue_run(run)
    assert READ[logger](run) == numbers_of_log(run)


# Functions


def test_scalars_of_a_row():
    row = {"iteration": 3, "seconds": 1.5, "loss": {"generator": {"a": 1.0}}, "warning": "none"}
    assert scalars(row) == {"seconds": 1.5, "loss/generator/a": 1.0}
    assert flatten({"a": {"b": {"c": 1}}, "d": {}}, ".") == {"a.b.c": 1}
    row = {"iteration": 3, "seconds": 1.5, "metrics": {"fid": 2.0}, "protocol": {"seed": 0}}
    row["settings"] = {"fid": {"fid.k": 3}}
    assert scalars(row) == {"metrics/fid": 2.0, "evaluation/seconds": 1.5}
