"""Image-to-image translation from the command line: pairs and two folders, a resumed run, samples, metrics, report."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image, ImageOps

from gankit import Recipe, find_recipe
from gankit.cli import run_command_line
from gankit.training.assembly import assemble

SMALL = ("train.device=cpu", "generator.width=2", "discriminator.width=2", "discriminator.patch=16")
SHORT = ("train.batch_size=4", "output.sample_count=4", "output.checkpoint_every=2", "output.log_every=2")
SHORT += ("output.sample_every=4", "train.precision=fp32")
TWO_FOLDERS = ("data.source.path=a", "data.target.path=b", "data.source.resolution=16", "data.target.resolution=16")
PAIRS = ("--drop", "data", "data.use=image_pairs", "data.source=a", "data.target=b", "data.resolution=16")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders `a` and `b` with eight images of the same names: grey, and coloured by a rule."""
    monkeypatch.chdir(tmp_path)
    for folder, bright in (("a", "white"), ("b", "orange")):
        (tmp_path / folder).mkdir()
        for number in range(8):
            image = ImageOps.colorize(Image.linear_gradient("L").rotate(40 * number), "black", bright)
            image.resize((20, 24)).save(tmp_path / folder / f"photo {number}.png")
    return tmp_path


@pytest.fixture
def gankit(capsys):
    """Function that runs a command in this process, checks that it succeeds, and returns its output."""

    def run(*arguments):
        assert run_command_line([*map(str, arguments)]) == 0
        return capsys.readouterr()

    return run


def sizes(folder):
    """Return the name and size of each image in a folder."""
    return {file.name: Image.open(file).size for file in folder.iterdir()}


def test_pairs_of_two_folders(folders, gankit):
    """Train, evaluate and report, and translate a folder of images of another size."""
    few = ("train.iterations=4", "evaluation.every=4", "evaluation.count=8")
    gankit("run", "pix2pix_emoji", *PAIRS, *SMALL, *SHORT, *few, "--out", "run", "--quiet")
    rows = [json.loads(line) for line in (folders / "run/log.jsonl").read_text().splitlines()]
    metrics = next(row["metrics"] for row in rows if "metrics" in row)
    assert set(metrics) == {"l1", "psnr", "ssim"}
    assert 0 < metrics["l1"] < 1
    evaluated = json.loads(gankit("eval", "run", "--json").out)
    assert evaluated["metrics"] == pytest.approx(metrics)
    assert evaluated["protocol"]["labels"] == "as in the data"
    answer = gankit("sample", "run", "--input", "a", "--out", "new")
    assert sizes(folders / "new") == {f"photo {number}.png": (16, 16) for number in range(8)}
    assert re.search(r"a: images of another size than 16x16 \(height x width\): 8 of 8; they are cropped", answer.err)
    gankit("sample", "run", "--input", "a", "--out", "grid.png")
    assert "new" not in gankit("sample", "run", "--input", "new", "--out", "again").err, "the size fits"
    gankit("prepare", "image_pairs", "--out", "pairs.safetensors", "source=a", "target=b", "resolution=16")
    against = gankit("eval", "run", "--against", "pairs.safetensors", "--json").out
    assert json.loads(against)["metrics"] == pytest.approx(metrics)
    gankit("report", "run")
    assert "psnr" in (folders / "run/report.html").read_text()


def test_two_folders_without_pairs_in_both_directions(folders, gankit):
    """A killed and resumed run equals a whole one. Its file translates in both directions."""
    recipe = ("run", "cyclegan_cifar10", "--drop", "data", "data.use=unpaired", *TWO_FOLDERS, *SMALL, *SHORT)
    recipe += ("train.iterations=8", "generator.blocks=1", "--quiet")
    gankit(*recipe, "--out", "whole")
    process = subprocess.Popen([sys.executable, "-m", "gankit", *recipe, "--out", "killed"])
    try:
        while not any(re.fullmatch(r"\d+", path.name) for path in folders.glob("killed/checkpoints/*")):
            assert process.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    gankit("resume", "killed", "--quiet")
    files = [(folders / run / "generator.safetensors").read_bytes() for run in ("whole", "killed")]
    assert files[0] == files[1]
    to_source = "tricks.cycle_consistency.direction=to_source"
    for out, direction, source in (("there", (), "a"), ("back", (to_source,), "b"), ("wrong", (to_source,), "a")):
        gankit("sample", "whole", *direction, "--input", source, "--out", out)
    assert sizes(folders / "there") == sizes(folders / "back") == sizes(folders / "wrong")
    contents = {out: (folders / out / "photo 1.png").read_bytes() for out in ("there", "back", "wrong")}
    assert len(set(contents.values())) == 3


@pytest.mark.parametrize(
    ("name", "data", "tricks", "norm"),
    [
        ("pix2pix_mnist_edges", "data.images={use='shapes', resolution=28, channels=1, count=8}", "l1", "batch_norm"),
        ("pix2pix_emoji", "data.images={use='shapes', resolution=64, count=8}", "l1", "batch_norm"),
        ("cyclegan_cifar10", "data={use='rule_pairs', rule='coarse', images={use='shapes'}}", "cycle", "instance_norm"),
    ],
)
def test_recipes_have_the_settings_of_their_headers(name, data, tricks, norm):
    recipe = Recipe.load(find_recipe(name), [data], ["data"] if tricks == "cycle" else [])
    settings = {key: component.config.model_dump() for key, component in recipe.components.items()}
    for player in ("generator", "discriminator"):
        adam = settings[f"optimizer.{player}"]
        assert (recipe.use_of(f"optimizer.{player}"), adam["lr"], adam["betas"]) == ("adam", 2e-4, (0.5, 0.999))
        assert recipe.use_of(f"normalization.{player}") == norm
    if tricks == "l1":
        assert (recipe.use_of("loss"), settings["tricks.l1_to_target"]["weight"]) == ("non_saturating", 100)
    else:
        cycle = settings["tricks.cycle_consistency"]
        assert (recipe.use_of("loss"), recipe.train.batch_size, cycle["pool"]) == ("least_squares", 8, 50)
        assert (cycle["weight"], cycle["identity_weight"]) == (5, 2.5)
    run = assemble(recipe)
    assert run.spec.conditional
    assert run.dataset.condition.shape[1:] == run.dataset.shape[1:]
