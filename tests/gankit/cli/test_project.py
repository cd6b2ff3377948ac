"""`gankit project`."""

import json
import shutil

import pytest
from PIL import Image
from safetensors import safe_open

from gankit.images.io import read_image

FAST = ("--trust", "--device", "cpu", "--steps", "20")
ENCODING = ("tricks.encoding.use=./toy.py:Encoding", "train.iterations=4", "data.classes=0")


@pytest.fixture
def run(toy_run):
    return toy_run("run", "latent=./toy.py:Normal")


@pytest.fixture
def pictures(toy):
    """Two images: a colour image of 20x10 pixels, and a grey image with transparency."""
    (toy / "pictures").mkdir()
    Image.effect_noise((20, 10), 60).convert("RGB").save(toy / "pictures/a.png")
    Image.new("LA", (8, 8), (90, 255)).save(toy / "pictures/b.png")
    return toy / "pictures"


def test_files_of_a_projection_and_interpolation(gankit, run, pictures):
    arguments = ("pictures/a.png", "pictures/b.png", "--out", "new/out", "--video", "gif", "--interpolate", "i.gif")
    answer = gankit("project", "run/generator.safetensors", *arguments, "--class", "1", *FAST)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("a: mean squared error 0.")
    assert " dB) in z, class b, nearest of 256 random images 0." in lines[0]
    assert lines[0].endswith(" dB): new/out/a.png")
    assert lines[2] == "interpolation of 2 images: i.gif"
    assert sorted(p.name for p in (run.parent / "new/out").iterdir()) == [
        f"{name}.{suffix}" for name in "ab" for suffix in ("gif", "png", "safetensors")
    ]
    # Two images of 8x8, enlarged eight times, with lines between them. The left one is the target.
    picture = read_image("new/out/b.png")
    assert picture.size == (19 * 8, 10 * 8)
    assert set(picture.crop((8, 8, 72, 72)).tobytes()) == {90}
    with Image.open("new/out/a.gif") as video, Image.open("i.gif") as loop:
        assert video.size == picture.size
        assert video.n_frames > 20
        assert loop.n_frames == 100
    with safe_open("new/out/a.safetensors", "pt") as file:
        card = json.loads(file.metadata()["gankit"])
        assert file.get_tensor("z").shape == (4,)
    assert {name: card[name] for name in ("space", "class", "seed", "steps", "image")} == {
        "space": "z",
        "class": 1,
        "seed": 0,
        "steps": 20,
        "image": "a",
    }
    assert f"{card['mean squared error']:.4g}" in lines[0]


def test_folder_gives_the_same_bytes_and_earlier_projections_need_no_search(gankit, run, pictures):
    for out in ("x", "y"):
        answer = gankit("project", "run", pictures, "--out", out, *FAST)
        assert (answer.code, answer.err) == (0, "")
    for name in ("a.png", "b.safetensors"):
        assert (run.parent / "x" / name).read_bytes() == (run.parent / "y" / name).read_bytes()
    with safe_open("x/a.safetensors", "pt") as file:
        label = "ab"[json.loads(file.metadata()["gankit"])["class"]]
    assert gankit("project", "run", pictures, "--out", "x", "--class", label, *FAST).code == 0
    answer = gankit("project", "run", "x/a.safetensors", "x/b.safetensors", "--interpolate", "i.png", "--trust")
    assert (answer.code, answer.out) == (0, "interpolation of 2 images: i.png\n")
    grid, first = read_image("i.png"), read_image("x/a.png")
    assert grid.size == (8 * (8 * 9 + 1), 8 * 10)
    assert grid.crop((8, 8, 72, 72)).tobytes() == first.crop((80, 8, 144, 72)).tobytes()


def test_encoder_of_a_run_is_used(gankit, toy_run, pictures):
    toy_run("plain", *ENCODING)
    answer = gankit("project", "plain", "pictures/a.png", "--out", "x", *FAST)
    assert (answer.code, answer.err) == (0, "")
    assert ", encoder alone " in answer.out
    file = gankit("project", "plain/generator.safetensors", "pictures/a.png", "--out", "y", *FAST)
    assert (file.code, "encoder" in file.out) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pictures/a.png"], "--out DIR: is missing; name the folder for the results"),
        (["none.png", "--out", "x"], "none.png: no such file or folder"),
        (["toy.py", "--out", "x"], "toy.py: cannot be used as images; name others"),
        (["pictures/a.png", "--out", "toy.py"], "--out toy.py: is not a folder"),
        (["pictures/a.png", "--out", "x", "--class", "zebra"], "zebra"),
        (["pictures/a.png", "--out", "x", "--interpolate", "i.png"], "--interpolate: needs two or more images"),
        (["pictures/a.png", "--out", "x", "--interpolate", "i.jpg"], "--interpolate i.jpg: unknown file type"),
        (["pictures/a.png", "seed=1", "--out", "x"], "seed: is not a setting of a plugin"),
        (["seed=1", "--out", "x"], "name an image, after FILE"),
        (["z.safetensors", "--out", "x"], "z.safetensors: is a projection already; add --interpolate"),
        (["z.safetensors", "--interpolate", "i.png"], "there is no projection z.safetensors"),
    ],
)
def test_errors(gankit, run, pictures, arguments, expected):
    answer = gankit("project", "run", *arguments, *FAST)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err
    assert not (run.parent / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pictures/a.png", "--out", "pictures"], "--out: pictures/a.png would replace"),
        (["pictures", "--out", "pictures"], "--out: pictures/a.png would replace"),
        (["generator.png", "--out", "run"], "--out: run/generator.safetensors would replace"),
        (["pictures", "--out", "x", "--interpolate", "pictures/b.png"], "--interpolate: pictures/b.png would replace"),
        (["pictures", "--out", "x", "--interpolate", "x/b.png"], "--interpolate: x/b.png would replace"),
    ],
)
def test_inputs_and_other_results_are_not_replaced(gankit, run, pictures, arguments, expected):
    shutil.copy(pictures / "a.png", "generator.png")
    before = {path: path.read_bytes() for path in [*pictures.iterdir(), run / "generator.safetensors"]}
    answer = gankit("project", "run", *arguments, "--steps", "0", *FAST[:3])
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert expected in answer.err
    assert {path: path.read_bytes() for path in before} == before


def test_folder_that_cannot_be_created_is_an_error_before_the_search(gankit, run, pictures, monkeypatch):
    monkeypatch.setattr("gankit.cli.project.search", None)
    answer = gankit("project", "run", pictures, "--out", "toy.py/x", *FAST)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "error: toy.py/x could not be written: Not a directory\n"
