"""Every logger has what log.jsonl has, whatever happens to the run, and leaves no trace in what is learnt."""

import sys
from pathlib import Path

import pytest
import wandb
from PIL import Image
from tests.plugins.logger.conftest import (
    LOGGERS,
    OF_THE_CLOCK,
    READ,
    advice_in_log,
    go_on,
    log_of,
    mlflow_of,
    numbers_of_log,
    play,
    recipe_with,
    tensorboard_of,
    texts_in_tensorboard,
    wandb_records,
    wandb_rows,
)

from gankit import InputError, Session
from gankit.cli import main
from gankit.recipe.recipe import Recipe
from gankit_plugins.logger.logger import flat, scalars
from gankit_plugins.logger.tensorboard import TensorBoard
from gankit_plugins.logger.upload_state import Sent

NEWEST = "checkpoints/000007"


def rounded(numbers):
    """TensorBoard keeps 32 bits."""
    return {name: [(step, pytest.approx(value, rel=1e-6)) for step, value in of] for name, of in numbers.items()}


def without_clock(numbers):
    return {name: of for name, of in numbers.items() if name not in OF_THE_CLOCK}


@pytest.mark.parametrize("logger", LOGGERS)
def test_the_numbers_are_those_of_the_log(logger, whole):
    numbers = READ[logger](whole.run)
    assert numbers == rounded(numbers_of_log(whole.run))
    assert [iteration for iteration, _ in numbers["loss/discriminator/adversarial"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [iteration for iteration, _ in numbers["measures/size"]] == [5, 7]
    assert [iteration for iteration, _ in numbers["measures/frechet_distance"]] == [5, 7]


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_what_can_be_taken_back_is_as_the_log_of_a_run_that_was_killed_and_resumed(logger, killed):
    assert READ[logger](killed.run) == rounded(numbers_of_log(killed.run))


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_what_cannot_be_taken_back_is_there_once_and_the_same(logger, killed):
    """What was logged by the process that was killed is what the resumed one would have logged, but for the time."""
    numbers = READ[logger](killed.run)
    assert without_clock(numbers) == without_clock(numbers_of_log(killed.run))
    assert [iteration for iteration, _ in numbers["seconds"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_killed_run_logs_what_an_unbroken_one_does(killed, whole):
    for logger in LOGGERS:
        assert without_clock(READ[logger](killed.run)) == without_clock(READ[logger](whole.run))


@pytest.mark.parametrize("name", ["whole", "killed"])
def test_advice_is_there_once(name, request):
    run = request.getfixturevalue(name).run
    said = advice_in_log(run)
    assert [iteration for iteration, _ in said] == [2, 5]
    assert texts_in_tensorboard(run) == said
    text = "".join(f"{iteration}: {sentence}\n" for iteration, sentence in said)
    _, only = mlflow_of(run)
    assert (run / "mlflow" / "artifacts" / only.info.run_id / "artifacts" / "advice.txt").read_text() == text
    summaries = [r.summary for r in wandb_records(run) if r.WhichOneof("record_type") == "summary"]
    advice = [u.value_json for s in summaries for u in s.update if u.key == "warning"]
    assert advice[-1] == f'"{text}"'.replace("\n", "\\n")


@pytest.mark.parametrize("name", ["whole", "killed"])
def test_grids_are_there_once(name, request, tmp_path):
    run = request.getfixturevalue(name).run
    drawn = {int(p.stem): Image.open(p).convert("RGB") for p in (run / "samples").glob("*.png")}
    assert set(drawn) == {5, 7}
    images = tensorboard_of(run).Images("samples")
    assert [e.step for e in images] == [5, 7]
    for event in images:
        (tmp_path / "one.png").write_bytes(event.encoded_image_string)
        assert Image.open(tmp_path / "one.png").tobytes() == drawn[event.step].tobytes()
    _, only = mlflow_of(run)
    files = run / "mlflow" / "artifacts" / only.info.run_id / "artifacts" / "samples"
    assert sorted(p.name for p in files.iterdir()) == ["000005.png", "000007.png"]
    for path in files.iterdir():
        assert Image.open(path).convert("RGB").tobytes() == drawn[int(path.stem)].tobytes()
    shown = [row for row in wandb_rows(run) if "samples/path" in row or "samples" in row]
    assert [row["iteration"] for row in shown] == [5, 7]
    media = sorted((run / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))
    pictures = [Image.open(path).convert("RGB").tobytes() for path in media]
    assert sorted(pictures) == sorted(picture.tobytes() for picture in drawn.values())


def test_the_recipe_is_there(whole):
    recipe = Recipe.load(whole.run / "recipe.toml")
    told = tensorboard_of(whole.run)
    (text,) = told.Tensors("recipe/text_summary")
    assert recipe.to_toml() in text.tensor_proto.string_val[0].decode()
    assert told.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"
    _, only = mlflow_of(whole.run)
    assert only.data.params == {key: str(value) for key, value in flat(recipe.to_dict(), ".").items()}
    assert only.info.run_name == "whole"
    begun = next(r.run for r in wandb_records(whole.run) if r.WhichOneof("record_type") == "run")
    assert (begun.project, begun.display_name) == ("logged", "whole")
    config = {update.key: update.value_json for update in begun.config.update}
    assert '"checkpoint_every":4' in config["output"].replace(" ", "")


def test_wandb_goes_on_under_the_same_id(killed):
    ids = [r.run.run_id for r in wandb_records(killed.run) if r.WhichOneof("record_type") == "run"]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    steps = [r.history.step.num for r in wandb_records(killed.run) if r.WhichOneof("record_type") == "history"]
    assert steps == list(range(13))


def test_only_the_recipe_puts_wandb_online(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    run, _ = play(recipe_with("wandb"), tmp_path / "run")
    assert READ["wandb"](run) == numbers_of_log(run)


# What is learnt


def test_loggers_leave_no_trace_in_what_is_learnt(whole, killed, tmp_path):
    plain, _ = play(recipe_with(), tmp_path / "plain")
    for played in (whole, killed):
        for file in ("generator", "discriminator", "optimizer", "random", "plugins"):
            name = f"{NEWEST}/{file}.safetensors"
            assert (played.run / name).read_bytes() == (plain / name).read_bytes(), name
        assert (played.run / NEWEST / "state.json").read_bytes() == (plain / NEWEST / "state.json").read_bytes()
    assert without_clock(numbers_of_log(whole.run)) == without_clock(numbers_of_log(plain))


def test_without_a_run_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Session(Recipe.from_dict(recipe_with(*LOGGERS))).play(1)
    assert list(tmp_path.iterdir()) == []


# How a run ends


def test_an_interrupted_run_goes_on(tmp_path, shared):
    run, _ = play(recipe_with(*LOGGERS, talks={"interrupt": 3}, **shared), tmp_path / "interrupted")
    assert mlflow_of(run)[1].info.status == "KILLED"
    for logger in LOGGERS:
        assert READ[logger](run) == rounded(numbers_of_log(run)), logger
    go_on(run)
    assert mlflow_of(run)[1].info.status == "FINISHED"
    for logger in LOGGERS:
        numbers = READ[logger](run)
        assert numbers == rounded(numbers_of_log(run)), logger
        assert [iteration for iteration, _ in numbers["measures/size"]] == [3, 5, 7]


def test_from_the_beginning_again(tmp_path, shared):
    """Without a checkpoint, as when killed before the first; then once more, when all is played. Under the same id."""
    run, _ = play(recipe_with(*LOGGERS, **shared), tmp_path / "again")
    ids = {r.run.run_id for r in wandb_records(run) if r.WhichOneof("record_type") == "run"}
    for place in (run / "checkpoints").iterdir():
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    for _ in range(2):
        go_on(run)
        for logger in LOGGERS:
            assert without_clock(READ[logger](run)) == rounded(without_clock(numbers_of_log(run))), logger
    assert {r.run.run_id for r in wandb_records(run) if r.WhichOneof("record_type") == "run"} == ids


# What fails


@pytest.mark.parametrize(
    ("logger", "module"),
    [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy")],
)
def test_a_missing_library_is_a_sentence_before_anything_begins(logger, module, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    for verb in ("validate", "run"):
        with pytest.raises(SystemExit) as ended:
            main([verb, "igan_vn", f"tricks.{logger}={{}}"])
        assert ended.value.code == 2
        sentence = f"tricks.{logger}: {module} is not installed; `pip install 'gankit[{logger}]'` gets it"
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_what_fails_later_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch):
    real = TensorBoard.write

    def broken(self, row):
        if row["iteration"] == 3:
            raise OSError("the cable is out.\nAnd more")
        real(self, row)

    monkeypatch.setattr(TensorBoard, "write", broken)
    run, advice = play(recipe_with("tensorboard"), tmp_path / "run")
    assert [sentence for sentence in advice if "tensorboard" in sentence] == [
        "tensorboard has failed and logs no more: the cable is out. The run goes on, and log.jsonl has every row; to "
        "resume the run starts the logger anew"
    ]
    assert [i for i, _ in READ["tensorboard"](run)["loss/discriminator/adversarial"]] == [1, 2]
    assert (run / "generator.safetensors").exists()


def test_what_fails_as_the_run_ends_is_said_too(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoard, "close", lambda self, run: 1 / 0)
    run, advice = play(recipe_with("tensorboard"), tmp_path / "run")
    assert advice[-1].startswith("tensorboard has failed and logs no more: division by zero.")
    assert log_of(run)[-1] == {"iteration": 7, "warning": advice[-1]}


def test_what_cannot_begin_is_an_error_before_training(tmp_path):
    with pytest.raises(InputError, match=r"^csv cannot begin: .*Is a directory"):
        play(recipe_with("csv", csv={"file": "."}), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_to_resume_sends_what_a_logger_that_failed_has_missed(logger, tmp_path, monkeypatch, shared):
    real = Sent.note

    def broken(self, stream, iteration):
        real(self, stream, iteration)
        if iteration == 2:
            raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Sent, "note", broken)
        run, advice = play(recipe_with(logger, **shared), tmp_path / "missed")
    assert any(sentence.startswith(f"{logger} has failed") for sentence in advice)
    assert [i for i, _ in READ[logger](run)["seconds"]] == [1, 2]
    wandb.teardown()  # as the end of the process would
    go_on(run)
    assert READ[logger](run) == numbers_of_log(run)


# The parts


def test_a_rows_numbers_by_their_paths():
    row = {"iteration": 3, "seconds": 1.5, "loss": {"generator": {"a": 1.0}}, "warning": "none"}
    assert scalars(row) == {"seconds": 1.5, "loss/generator/a": 1.0}
    assert flat({"a": {"b": {"c": 1}}, "d": {}}, ".") == {"a.b.c": 1}
    # What an evaluation took is not the time since the beginning, and how it was done is no measure.
    row = {"iteration": 3, "seconds": 1.5, "metrics": {"fid": 2.0}, "protocol": {"seed": 0}}
    row["settings"] = {"fid": {"fid.k": 3}}
    assert scalars(row) == {"measures/fid": 2.0, "measuring/seconds": 1.5}


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_grids_may_be_left_out(logger, tmp_path, shared):
    run, _ = play(recipe_with(logger, **({logger: {"grids": False}} | shared)), tmp_path / "no_grids")
    assert READ[logger](run) == rounded(numbers_of_log(run))
    assert not Path("mlruns").exists()
    own = {p.suffix for p in (run / logger).rglob("*")}
    assert ".png" not in own
    if logger == "tensorboard":
        assert tensorboard_of(run).Tags()["images"] == []
