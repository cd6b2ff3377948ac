"""`gankit animate`."""

import pytest
from PIL import Image, ImageChops

from gankit.images.gif import captioned
from gankit.images.io import read_image, save_png
from gankit.recipe.recipe import Recipe
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter


@pytest.fixture
def run(toy):
    """The directory of a run with grids at iterations 2, 4, 6 and 7."""
    start(Recipe.load("toy.toml", ["train.iterations=7", "output.sample_every=2"]), "run", Reporter())
    return toy / "run"


def frames(path):
    with Image.open(path) as opened:
        for number in range(opened.n_frames):
            opened.seek(number)
            yield opened.convert("RGB"), opened.info["duration"]


def test_every_grid_is_a_frame_with_its_iteration(gankit_process, run):
    answer = gankit_process("animate", "run", "--out", "deep/run.gif")
    assert (answer.code, answer.out, answer.err) == (0, "4 frames: deep/run.gif\n", "")
    found = list(frames("deep/run.gif"))
    assert [duration for _, duration in found] == [500, 500, 500, 3000]
    for (frame, _), iteration in zip(found, (2, 4, 6, 7), strict=True):
        expected = captioned(read_image(run / "samples" / f"{iteration:06d}.png"), f"iteration {iteration}")
        assert frame.tobytes() == expected.convert("RGB").tobytes()  # grey, and so exactly
    assert ImageChops.difference(found[0][0], found[3][0]).getbbox() is not None
    assert [p.name for p in (run.parent / "deep").iterdir()] == ["run.gif"]


def test_the_order_is_that_of_the_iterations(gankit, run):
    for grid in (run / "samples").iterdir():
        grid.unlink()
    for iteration in (1_000_000, 999_999, 20, 100):
        save_png(Image.new("L", (200, 100), iteration % 251), run / "samples" / f"{iteration:06d}.png")
    (run / "samples" / "mine.png").write_text("not the run's")
    assert gankit("animate", "run", "--out", "x.gif").out == "4 frames: x.gif\n"
    assert [f.getpixel((50, 50))[0] for f, _ in frames("x.gif")] == [n % 251 for n in (20, 100, 999_999, 1_000_000)]


def test_grids_of_other_z_are_left_out(gankit, run):
    resume("run", ["train.iterations=10", "output.sample_count=12"], Reporter())
    answer = gankit("animate", "run", "--out", "x.gif")
    assert answer.out == "2 frames of 6 grids: x.gif\n"  # 8 and 10
    assert len(list(frames("x.gif"))) == 2


def test_grids_of_other_z_but_of_the_same_size_are_left_out(gankit, toy):
    """60 images without classes fill as many rows and columns as 64 do."""
    source = (toy / "toy.py").read_text()
    (toy / "toy.py").write_text(source.replace("forward(self, z, labels)", "forward(self, z)"))
    recipe = Recipe.load("toy.toml", ["train.iterations=4", "output.sample_every=2", "output.sample_count=60"])
    start(recipe, "run", Reporter())
    resume("run", ["train.iterations=8", "output.sample_count=64"], Reporter())
    assert len({Image.open(grid).size for grid in (toy / "run" / "samples").iterdir()}) == 1
    assert gankit("animate", "run", "--out", "x.gif").out == "2 frames of 4 grids: x.gif\n"


def test_of_very_many_grids_some_are_shown(gankit, run, monkeypatch):
    monkeypatch.setattr("gankit.images.gif.MOST_FRAMES", 3)
    assert gankit("animate", "run", "--out", "x.gif").out == "3 frames of 4 grids: x.gif\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--out", "x.gif"], "nowhere is not a run directory: it does not exist"),
        (["run/generator.safetensors", "--out", "x.gif"], "is not a run directory: it is a file"),
        (["run", "--out", "x.mp4"], "--out x.mp4: the animation is written as GIF; name a file that ends in .gif"),
        (["run", "--out", "folder.gif"], "--out folder.gif: a folder of that name is in the way"),
        (["run", "--out", "toy.py/x.gif"], "could not be written"),
    ],
)
def test_what_cannot_be_animated(gankit, run, toy, arguments, said):
    (toy / "folder.gif").mkdir()
    answer = gankit("animate", *arguments)
    assert answer.code in (1, 2)
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert not (toy / "x.gif").exists()


@pytest.mark.parametrize(("left", "said"), [(1, "1 grid"), (0, "0 grids")])
def test_it_takes_two(gankit, run, left, said):
    for grid in sorted((run / "samples").iterdir())[left:]:
        grid.unlink()
    answer = gankit("animate", "run", "--out", "x.gif")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: run holds {said} to animate, and it takes two; a run with a smaller output.sample_every leaves more\n"
    )


@pytest.mark.parametrize("length", [10, 300])
@pytest.mark.parametrize("damaged", ["000004", "000007"])
def test_a_damaged_grid_is_left_out(gankit, run, damaged, length):
    """One that is cut within its first bytes, or behind what says its size and its z; the newest as well."""
    path = run / "samples" / f"{damaged}.png"
    path.write_bytes(path.read_bytes()[:length])
    answer = gankit("animate", "run", "--out", "x.gif")
    said = f"run/samples/{damaged}.png is damaged and left out\n3 frames of 4 grids: x.gif\n"
    assert (answer.code, answer.out, answer.err) == (0, said, "")
    assert len(list(frames("x.gif"))) == 3


def test_where_damage_leaves_too_few_what_was_there_stays(gankit, run, toy):
    (toy / "x.gif").write_text("from before")
    for grid in sorted((run / "samples").iterdir())[1:]:
        grid.write_bytes(grid.read_bytes()[:300])
    answer = gankit("animate", "run", "--out", "x.gif")
    assert answer.code == 2
    assert answer.err.startswith("error: run holds 1 grid to animate, and it takes two")
    assert (toy / "x.gif").read_text() == "from before"
