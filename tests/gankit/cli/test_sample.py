"""`gankit sample`."""

import pytest
from PIL import Image

from gankit.recipe import Recipe
from gankit.runs import start


class Silent:
    def began(self, game, directory): ...
    def played(self, game): ...
    def logged(self, row): ...
    def stopping(self): ...
    def advised(self, sentence): ...
    def measured(self, iteration, measures): ...
    def ended(self, outcome): ...


@pytest.fixture
def run(toy):
    """The directory of a run of two iterations."""
    start(Recipe.load("toy.toml", ["train.iterations=2"]), "run", Silent(), print)
    return toy / "run"


def test_a_grid_has_a_row_for_each_class(gankit, run):
    answer = gankit("sample", "run", "--out", "grid.png", "--trust", "--count", 7)
    assert (answer.code, answer.out, answer.err) == (0, "6 images: grid.png\n", "")
    drawn = Image.open("grid.png")
    # 3 x 2 images of 8 pixels with gaps of 1, eightfold, and a margin for the names.
    assert drawn.height == (2 * 9 + 1) * 8
    assert drawn.width > (3 * 9 + 1) * 8
    assert gankit("sample", "run", "--out", "one.png", "--trust", "--count", 1).out == "2 images: one.png\n"


def test_a_grid_of_one_class_is_a_square_without_names(gankit, run):
    answer = gankit("sample", "run", "--out", "grid.png", "--trust", "--count", 9, "--class", "right")
    assert answer.out == "9 images: grid.png\n"
    assert Image.open("grid.png").size == ((3 * 9 + 1) * 8,) * 2


def test_a_folder_has_a_file_for_each_image(gankit, run, toy):
    assert gankit("sample", "run", "--out", "folder", "--trust", "--count", 3).out == "3 images: folder\n"
    assert sorted(p.name for p in (toy / "folder").iterdir()) == [
        "000000_left.png",
        "000001_right.png",
        "000002_left.png",
    ]
    assert gankit("sample", "run", "--out", "some", "--trust", "--count", 2, "--class", 1).code == 0
    assert sorted(p.name for p in (toy / "some").iterdir()) == ["000000_right.png", "000001_right.png"]
    again = gankit("sample", "run", "--out", "folder", "--trust", "--count", 3)
    assert again.code == 2
    assert "--out folder: something is there already" in again.err


def test_the_seed_decides(gankit, run, toy):
    for out, seed in {"a.png": 3, "b.png": 3, "c.png": 4}.items():
        gankit("sample", "run", "--out", out, "--trust", "--seed", seed)
    a, b, c = ((toy / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    gankit("sample", "run", "--out", "d.png", "--trust", "--seed", 3, "--truncation", 0.5)
    assert (toy / "d.png").read_bytes() != a


@pytest.mark.parametrize("file", ["run", "run/generator.safetensors"])
def test_code_that_a_file_names_is_imported_on_request_only(gankit, run, file):
    answer = gankit("sample", file, "--out", "x.png", "--device", "cpu")
    assert answer.code == 2
    assert "wants to import" in answer.err
    assert "--trust" in answer.err
    assert gankit("sample", file, "--out", "x.png", "--trust", "--device", "cpu").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--out", "x.png"], "there is no generator file nowhere"),
        (["toy.toml", "--out", "x.png"], "toy.toml"),
        ([".", "--out", "x.png"], ". is not a run directory: it has no recipe.toml"),
        (["run", "--out", "x.png", "--class", "middle"], "class 'middle': there are left, right"),
        (["run", "--out", "x.png", "--class", "2"], "class '2': there are left, right"),
        (["run", "--out", "x.png", "--truncation", "1e-9"], "truncation 1e-09: the prior hardly ever"),
        (["run", "--out", "x.png", "--device", "quantum"], "'quantum' given"),
        (["run", "--out", "x.jpg"], "--out x.jpg: pictures are written as PNG"),
        (["run", "--out", "toy.py"], "--out toy.py: something is there already"),
        (["run", "--out", "toy.py/x.png"], "could not be written"),
    ],
)
def test_what_cannot_be_sampled(gankit, run, toy, arguments, said):
    answer = gankit("sample", *arguments, "--trust")
    assert answer.code in (1, 2)
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert not (toy / "x.png").exists()


def test_a_run_that_was_killed_too_early(gankit, run):
    (run / "generator.safetensors").unlink()
    answer = gankit("sample", "run", "--out", "x.png", "--trust")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: run holds no generator yet; `gankit resume run` goes on with the run\n"
