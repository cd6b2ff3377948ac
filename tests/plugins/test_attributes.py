"""The path of a user whose images have attributes: labels.csv, a run, a kill and resume, samples with an attribute."""

import hashlib
import json

import pytest
import torch
from PIL import Image

from gankit import Sampler
from gankit.cli import run_command_line

RECIPE = """
[train]
iterations = 4
batch_size = 8
device = "cpu"
precision = "fp32"

[output]
checkpoint_every = 2
sample_count = 4

[data]
use = "images"
path = "photos"
resolution = 8
channels = 1

[generator]
use = "conditional_dcgan"
width = 2

[discriminator]
use = "conditional_dcgan"
width = 2

[extractor]
use = "pixels"

[metrics.frechet_distance]

[evaluation]
count = 16
"""


@pytest.fixture
def gankit(tmp_path, monkeypatch, capfd):
    """Function that runs a command in a folder with images with attributes, and returns its code and its messages."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = ["file,brightness,side"]
    for number in range(32):
        side = ("left", "right")[number % 2]
        image = Image.new("L", (8, 8))
        image.paste(8 * number, (0 if side == "left" else 4, 0, 4 if side == "left" else 8, 8))
        image.save(photos / f"{number}.png")
        rows.append(f"{number}.png,{8 * number},{side}")
    (photos / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = run_command_line([*map(str, arguments)])
        return code, *capfd.readouterr()

    return run


def test_attributes_from_the_folder_to_the_samples(gankit, tmp_path):
    code, out, _ = gankit("validate", "recipe.toml")
    assert code == 0
    assert "1x8x8, 3 numbers: brightness (0 to 248), side=left, side=right; 32 images of 32 files" in out
    assert gankit("run", "recipe.toml", "--out", "whole", "--quiet")[0] == 0
    assert gankit("run", "recipe.toml", "train.iterations=2", "--out", "half", "--quiet")[0] == 0
    assert gankit("resume", "half", "train.iterations=4", "--quiet")[0] == 0
    whole, half = (Sampler.load(tmp_path / run / "generator.safetensors") for run in ("whole", "half"))
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, half.generator.state_dict()[name]), name
    assert whole.conditions(2, {"brightness": "124", "side": "left"}).tolist() == [[0, 1, -1]] * 2
    sample = ("sample", "whole", "--count", 4, "--set", "brightness=200")
    pictures = {}
    for side in ("left", "right"):
        assert gankit(*sample, "--set", f"side={side}", "--out", f"{side}.png")[:2] == (0, f"4 images: {side}.png\n")
        pictures[side] = hashlib.sha256((tmp_path / f"{side}.png").read_bytes()).hexdigest()
    assert pictures["left"] != pictures["right"]
    assert gankit("sample", "whole", "--count", 3, "--out", "folder")[0] == 0
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [f"{n:06d}.png" for n in range(3)]
    code, out, _ = gankit("eval", "whole", "evaluation.count=16", "--json")
    assert (code, json.loads(out)["protocol"]["labels"]) == (0, "as in the data")
    for options, message in (
        (("--set", "brightness"), "error: --set brightness: give a name and a value, for example --set age=30"),
        (("--set", "side=left", "--set", "side=right"), "error: --set side=right: side is set twice; keep one"),
        (("--set", "side=top"), "error: side: 'top' is unknown; there are left, right"),
        (("--input", "photos"), "error: --input photos: the generator takes no source images; leave it out"),
    ):
        code, _, err = gankit("sample", "whole", *options, "--out", "wrong.png")
        assert (code, message in err) == (2, True), err
        assert not (tmp_path / "wrong.png").exists()
