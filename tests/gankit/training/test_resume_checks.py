"""A resumed run loses no result, and it notices other settings, other data and moved files."""

import json
import shutil

import pytest

from gankit import InputError
from gankit.storage.run_dir import RunDir

DATA = '''
import json
import pathlib
import torch
from gankit import Dataset, Plugin, Settings, hookimpl
from gankit.plugin.condition import ClassCondition

class FileData(Plugin):
    """Data in a JSON file: class names and one number for each image."""

    name = "file_data"
    kind = "data"

    class Config(Settings):
        path: pathlib.Path

    @hookimpl
    def load_data(self):
        content = json.loads(self.config.path.read_text())
        images = torch.tensor(content["images"], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
        labels = torch.arange(len(images)) % len(content["names"])
        return Dataset((1, 8, 8), ClassCondition.of(tuple(content["names"])), lambda: (images.contiguous(), labels))

class Half(Plugin):
    """Real images with a brightness."""

    name = "half"

    class Config(Settings):
        factor: float = 0.5

    @hookimpl
    def discriminator_inputs(self, images, condition):
        return images * self.config.factor, condition
'''


@pytest.fixture
def numbers(tmp_path):
    """Write the file of `FileData`."""

    def write(images=(10, 20, 30, 40, 50, 60), names=("a", "b"), to="numbers.json"):
        (tmp_path / to).write_text(json.dumps({"images": list(images), "names": list(names)}))
        return tmp_path / to

    return write


@pytest.fixture
def file_run(train_toy, numbers, tmp_path):
    """Train a run on the data of a file, with a plugin from a file."""
    (tmp_path / "mine.py").write_text(DATA)
    data = {"use": f"{tmp_path}/mine.py:FileData", "path": str(numbers())}
    tricks = {"half": {"use": f"{tmp_path}/mine.py:Half", "factor": 0.25}}
    return train_toy(data=data, tricks=tricks)


def contents(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def weights(run):
    """Return the bytes of the last checkpoint's generator. Unlike the generator file, it has no paths."""
    return (run.path / "checkpoints" / run.checkpoints[-1] / "generator.safetensors").read_bytes()


@pytest.mark.parametrize("loss", ["no folder", "damaged", "no generator either"])
def test_results_without_a_checkpoint_are_kept(train_toy, resume_toy, loss):
    run = train_toy()
    checkpoints = run.path / "checkpoints"
    if loss == "damaged":
        for place in checkpoints.iterdir():
            (place / "state.json").write_text("{")
    else:
        shutil.rmtree(checkpoints)
    if loss == "no generator either":
        (run.path / "generator.safetensors").unlink()
    before = contents(run.path)
    with pytest.raises(InputError, match=r"no checkpoint can be resumed, and the run has results .* --restart"):
        resume_toy("run", "train.iterations=8")
    assert contents(run.path) == before


def test_restart_moves_the_results_and_trains_the_same_run_again(train_toy, resume_toy):
    run = train_toy()
    generator, images = run.generator, contents(run.path / "samples")
    shutil.rmtree(run.path / "checkpoints")
    for number in (1, 2):
        assert resume_toy("run", restart=True).generator == generator
        assert [row["iteration"] for row in RunDir(run.path).read_log()] == [2, 4, 6]
        assert RunDir(run.path).read_environment()["ended"]["state"] == "finished"
        assert contents(run.path / f"before-{number}" / "samples") == images
        assert (run.path / f"before-{number}" / "generator.safetensors").read_bytes() == generator


def test_a_run_without_its_first_checkpoint_starts_again(train_toy, resume_toy):
    run = train_toy()
    generator = run.generator
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "generator.safetensors").unlink()
    log = run.path / "log.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    assert resume_toy().generator == generator


def test_unchanged_data_are_resumed_without_a_message(file_run, resume_toy):
    assert not [m for m in resume_toy("run", "train.iterations=8").reporter.messages if m.startswith("data")]


@pytest.mark.parametrize("images", [(10, 20, 30, 40, 50, 61), (10, 20, 30, 40, 50, 60, 70)])
def test_changed_images_need_an_option(file_run, resume_toy, numbers, images):
    numbers(images)
    before = contents(file_run.path)
    with pytest.raises(InputError, match=r"data: they have changed since the checkpoint .* --allow-changed-data"):
        resume_toy("run", "train.iterations=8")
    assert contents(file_run.path) == before
    again = resume_toy("run", "train.iterations=8", allow_changed_data=True)
    assert any("data: they have changed since the checkpoint" in message for message in again.reporter.messages)


@pytest.mark.parametrize("names", [("b", "a"), ("a", "c")])
def test_other_classes_are_refused_even_with_the_option(file_run, resume_toy, numbers, names):
    numbers(names=names)
    with pytest.raises(InputError, match=r"recipe\.toml: data: these are not the data of the run: other class names"):
        resume_toy("run", "train.iterations=8", allow_changed_data=True)


def test_moved_data_are_found_by_an_override(file_run, resume_toy, numbers, tmp_path):
    (tmp_path / "numbers.json").rename(tmp_path / "moved.json")
    again = resume_toy("run", "train.iterations=8", f"data.path={tmp_path}/moved.json")
    assert again.reporter.trained_iterations == [7, 8]
    assert str(tmp_path / "moved.json") in (again.path / "recipe.toml").read_text()
    numbers((1, 2, 3, 4, 5, 6), to="other.json")
    with pytest.raises(InputError, match="other images"):
        resume_toy("run", "train.iterations=9", f"data.path={tmp_path}/other.json")


def test_missing_data_hint_at_the_override(file_run, resume_toy, tmp_path):
    (tmp_path / "mine.py").write_text(
        DATA.replace(
            "content = json",
            "if not self.config.path.exists(): raise ValueError('it does not exist')\n        content = json",
        )
    )
    (tmp_path / "numbers.json").unlink()
    with pytest.raises(
        InputError, match=r"if the data were moved, name their new place: `gankit resume .*run data.path=PATH"
    ):
        resume_toy("run", "train.iterations=8")


def test_moved_plugin_files_are_found_with_their_settings(file_run, resume_toy, tmp_path):
    shutil.copytree(file_run.path, tmp_path / "copy")
    expected = weights(resume_toy("copy", "train.iterations=8"))
    (tmp_path / "mine.py").rename(tmp_path / "renamed.py")
    again = resume_toy("run", "train.iterations=8")
    assert sum("using the run's copy" in message for message in again.reporter.messages) == 2
    assert weights(again) == expected
    named = resume_toy("run", f"tricks.half.use={tmp_path}/renamed.py:Half")
    assert "factor = 0.25" in (named.path / "recipe.toml").read_text()


def test_an_edited_recipe_is_noticed(train_toy, resume_toy):
    run = train_toy()
    recipe = run.path / "recipe.toml"
    original = recipe.read_text()
    recipe.write_text(original.replace("batch_size = ", "batch_size = 1"))
    before = contents(run.path)
    with pytest.raises(InputError, match=r"recipe\.toml: train\.batch_size: it is 1\d+, and was \d+ when .*gankit run"):
        resume_toy()
    assert contents(run.path) == before
    recipe.write_text(original.replace("iterations = 6", "iterations = 8"))
    assert resume_toy().reporter.trained_iterations[-1] == 8
