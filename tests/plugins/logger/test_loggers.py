"""All loggers have the content of log.jsonl, also after failures, and do not change the training."""

import sys
from pathlib import Path

import pytest
import wandb
from PIL import Image

from gankit import InputError, Session
from gankit.cli import main
from gankit.recipe.recipe import Recipe
from gankit_plugins.logger.logger import flatten, scalars
from gankit_plugins.logger.tensorboard import TensorBoard
from gankit_plugins.logger.upload_state import UploadState
from tests.plugins.logger.conftest import (
    LOGGERS,
    READ,
    TIMES,
    continue_run,
    mlflow_run,
    numbers_of_log,
    read_events,
    read_log,
    recipe_with,
    texts_in_tensorboard,
    train,
    wandb_records,
    wandb_rows,
    warnings_in_log,
)

LAST = "checkpoints/000007"


def rounded(numbers):
    """Return numbers with the tolerance of 32 bits, which TensorBoard stores."""
    return {n: [(step, pytest.approx(value, rel=1e-6)) for step, value in series] for n, series in numbers.items()}


def without_times(numbers):
    return {name: series for name, series in numbers.items() if name not in TIMES}


@pytest.mark.parametrize("logger", LOGGERS)
def test_numbers_equal_the_log(logger, whole):
    numbers = READ[logger](whole)
    assert numbers == rounded(numbers_of_log(whole))
    assert [iteration for iteration, _ in numbers["loss/discriminator/adversarial"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [iteration for iteration, _ in numbers["metrics/brightness"]] == [5, 7]
    assert [iteration for iteration, _ in numbers["metrics/frechet_distance"]] == [5, 7]


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_files_of_a_killed_run_equal_the_log(logger, killed):
    assert READ[logger](killed) == rounded(numbers_of_log(killed))


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_services_have_each_row_of_a_killed_run_once(logger, killed):
    """The killed process logged the same rows as the resumed one, except for times."""
    numbers = READ[logger](killed)
    assert without_times(numbers) == without_times(numbers_of_log(killed))
    assert [iteration for iteration, _ in numbers["seconds"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_killed_run_logs_the_same_as_an_uninterrupted_one(killed, whole):
    for logger in LOGGERS:
        assert without_times(READ[logger](killed)) == without_times(READ[logger](whole))


@pytest.mark.parametrize("name", ["whole", "killed"])
def test_warnings_are_logged_once(name, request):
    run = request.getfixturevalue(name)
    warnings = warnings_in_log(run)
    assert [iteration for iteration, _ in warnings] == [2, 5]
    assert texts_in_tensorboard(run) == warnings
    text = "".join(f"{iteration}: {sentence}\n" for iteration, sentence in warnings)
    _, info = mlflow_run(run)
    assert (Path(info.info.artifact_uri.removeprefix("file://")) / "warnings.txt").read_text() == text
    summaries = [r.summary for r in wandb_records(run) if r.WhichOneof("record_type") == "summary"]
    logged = [u.value_json for s in summaries for u in s.update if u.key == "warning"]
    assert logged[-1] == f'"{text}"'.replace("\n", "\\n")


@pytest.mark.parametrize("name", ["whole", "killed"])
def test_grids_are_logged_once(name, request, tmp_path):
    run = request.getfixturevalue(name)
    grids = {int(p.stem): Image.open(p).convert("RGB") for p in (run / "samples").glob("*.png")}
    assert set(grids) == {5, 7}
    images = read_events(run).Images("samples")
    assert [e.step for e in images] == [5, 7]
    for event in images:
        (tmp_path / "one.png").write_bytes(event.encoded_image_string)
        assert Image.open(tmp_path / "one.png").tobytes() == grids[event.step].tobytes()
    _, info = mlflow_run(run)
    files = Path(info.info.artifact_uri.removeprefix("file://")) / "samples"
    assert sorted(p.name for p in files.iterdir()) == ["000005.png", "000007.png"]
    for path in files.iterdir():
        assert Image.open(path).convert("RGB").tobytes() == grids[int(path.stem)].tobytes()
    rows = [row for row in wandb_rows(run) if "samples/path" in row or "samples" in row]
    assert [row["iteration"] for row in rows] == [5, 7]
    media = sorted((run / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))
    images = [Image.open(path).convert("RGB").tobytes() for path in media]
    assert sorted(images) == sorted(grid.tobytes() for grid in grids.values())


def test_mlflow_writes_into_the_run_directory_by_default(whole):
    _, info = mlflow_run(whole)
    assert info.info.artifact_uri == f"file://{whole}/mlflow/artifacts/{info.info.run_id}/artifacts"


def test_the_recipe_is_logged(whole):
    recipe = Recipe.load(whole / "recipe.toml")
    events = read_events(whole)
    (text,) = events.Tensors("recipe/text_summary")
    assert recipe.to_toml() in text.tensor_proto.string_val[0].decode()
    assert events.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"
    _, info = mlflow_run(whole)
    assert info.data.params == {key: str(value) for key, value in flatten(recipe.to_dict(), ".").items()}
    assert info.info.run_name == "whole"
    start = next(r.run for r in wandb_records(whole) if r.WhichOneof("record_type") == "run")
    assert (start.project, start.display_name) == ("logged", "whole")
    config = {update.key: update.value_json for update in start.config.update}
    assert '"checkpoint_every":4' in config["output"].replace(" ", "")


def test_a_resumed_run_has_the_same_wandb_id(killed):
    ids = [r.run.run_id for r in wandb_records(killed) if r.WhichOneof("record_type") == "run"]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    steps = [r.history.step.num for r in wandb_records(killed) if r.WhichOneof("record_type") == "history"]
    assert steps == list(range(11))


def test_the_environment_does_not_put_wandb_online(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    run, _ = train(recipe_with("wandb"), tmp_path / "run")
    assert READ["wandb"](run) == numbers_of_log(run)


def test_loggers_do_not_change_the_training(whole, killed, tmp_path):
    plain, _ = train(recipe_with(), tmp_path / "plain")
    for run in (whole, killed):
        for file in ("generator", "discriminator", "optimizer", "random", "plugins"):
            name = f"{LAST}/{file}.safetensors"
            assert (run / name).read_bytes() == (plain / name).read_bytes(), name
        assert (run / LAST / "state.json").read_bytes() == (plain / LAST / "state.json").read_bytes()
    assert without_times(numbers_of_log(whole)) == without_times(numbers_of_log(plain))


def test_without_a_run_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Session(Recipe.from_dict(recipe_with(*LOGGERS))).train(1)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_continues(tmp_path, shared):
    run, _ = train(recipe_with(*LOGGERS, warner={"interrupt": 3}, **shared), tmp_path / "interrupted")
    assert mlflow_run(run)[1].info.status == "KILLED"
    for logger in LOGGERS:
        assert READ[logger](run) == rounded(numbers_of_log(run)), logger
    continue_run(run)
    assert mlflow_run(run)[1].info.status == "FINISHED"
    for logger in LOGGERS:
        numbers = READ[logger](run)
        assert numbers == rounded(numbers_of_log(run)), logger
        assert [iteration for iteration, _ in numbers["metrics/brightness"]] == [5, 7]


def test_a_run_without_checkpoints_starts_again(tmp_path, shared):
    """Resume after a kill before the first checkpoint, and again when the run is complete. The id stays the same."""
    run, _ = train(recipe_with(*LOGGERS, **shared), tmp_path / "again")
    ids = {r.run.run_id for r in wandb_records(run) if r.WhichOneof("record_type") == "run"}
    for place in (run / "checkpoints").iterdir():
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    for _ in range(2):
        continue_run(run)
        for logger in LOGGERS:
            assert without_times(READ[logger](run)) == rounded(without_times(numbers_of_log(run))), logger
    assert {r.run.run_id for r in wandb_records(run) if r.WhichOneof("record_type") == "run"} == ids


# Errors


@pytest.mark.parametrize(
    ("logger", "module"),
    [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy")],
)
def test_a_missing_library_is_an_error_before_training(logger, module, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    for verb in ("validate", "run"):
        with pytest.raises(SystemExit) as exit:
            main([verb, "igan_vn", f"tricks.{logger}={{}}"])
        assert exit.value.code == 2
        sentence = f"tricks.{logger}: {module} is not installed; run `pip install 'gankit[{logger}]'`"
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


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
    with pytest.raises(InputError, match=r"^csv cannot start: .*Is a directory"):
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


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_grids_can_be_disabled(logger, tmp_path, shared):
    run, _ = train(recipe_with(logger, **{logger: {"grids": False} | shared.get(logger, {})}), tmp_path / "no_grids")
    assert READ[logger](run) == rounded(numbers_of_log(run))
    assert not Path("mlruns").exists()
    suffixes = {p.suffix for p in (run / logger).rglob("*")}
    assert ".png" not in suffixes
    if logger == "tensorboard":
        assert read_events(run).Tags()["images"] == []
