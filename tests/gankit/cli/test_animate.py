"""`gankit animate`."""

import pytest
from PIL import Image, ImageChops

from gankit.images.gif import captioned
from gankit.images.io import read_image, save_png
from gankit.recipe.recipe import Recipe
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter


@pytest.fixture
def run(toy_run):
    """Directory of a run with grids at iterations 2, 4, 6 and 7."""
    return toy_run("run", "train.iterations=7", "output.sample_every=2")


def frames(path):
    with Image.open(path) as opened:
        for number in range(opened.n_frames):
            opened.seek(number)
            yield opened.convert("RGB"), opened.info["duration"]


def test_every_grid_is_a_frame_with_its_iteration(gankit, run):
    answer = gankit("animate", "run", "--out", "deep/run.gif")
    assert (answer.code, answer.out, answer.err) == (0, "4 frames: deep/run.gif\n", "")
    actual = list(frames("deep/run.gif"))
    assert [duration for _, duration in actual] == [500, 500, 500, 3000]
    for (frame, _), iteration in zip(actual, (2, 4, 6, 7), strict=True):
        expected = captioned(read_image(run / "samples" / f"{iteration:06d}.png"), f"iteration {iteration}")
        assert frame.tobytes() == expected.convert("RGB").tobytes()  # exact, because the image is grey
    assert ImageChops.difference(actual[0][0], actual[3][0]).getbbox() is not None
    assert [p.name for p in (run.parent / "deep").iterdir()] == ["run.gif"]


def test_frames_are_in_the_order_of_iterations(gankit, run):
    for grid in (run / "samples").iterdir():
        grid.unlink()
    for iteration in (1_000_000, 999_999, 20, 100):
        save_png(Image.new("L", (200, 100), iteration % 251), run / "samples" / f"{iteration:06d}.png")
    (run / "samples" / "mine.png").write_text("not the run's")
    assert gankit("animate", "run", "--out", "x.gif").out == "4 frames: x.gif\n"
    assert [f.getpixel((50, 50))[0] for f, _ in frames("x.gif")] == [n % 251 for n in (20, 100, 999_999, 1_000_000)]


def test_grids_of_other_z_but_of_the_same_size_are_left_out(gankit, toy):
    """60 images without classes need as many rows and columns as 64."""
    settings = ["train.iterations=4", "output.sample_every=2", "output.sample_count=60", "data.classes=0"]
    start(Recipe.load("toy.toml", settings), "run", Reporter())
    resume("run", ["train.iterations=8", "output.sample_count=64"], Reporter())
    assert len({Image.open(grid).size for grid in (toy / "run" / "samples").iterdir()}) == 1
    assert gankit("animate", "run", "--out", "x.gif").out == "2 frames of 4 grids: x.gif\n"


def test_the_number_of_frames_is_limited(gankit, run, monkeypatch):
    monkeypatch.setattr("gankit.images.gif.MOST_FRAMES", 3)
    assert gankit("animate", "run", "--out", "x.gif").out == "3 frames of 4 grids: x.gif\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere", "--out", "x.gif"], "nowhere is not a run directory: it does not exist"),
        (["run", "--out", "x.mp4"], "--out x.mp4: unknown file type; the name of the file must end in .gif"),
        (["run", "--out", "folder.gif"], "--out folder.gif: a folder of that name exists"),
        (["run", "--out", "toy.py/x.gif"], "could not be written"),
    ],
)
def test_errors(gankit, run, toy, arguments, expected):
    (toy / "folder.gif").mkdir()
    answer = gankit("animate", *arguments)
    assert answer.code in (1, 2)
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert not (toy / "x.gif").exists()


@pytest.mark.parametrize(("left", "count"), [(1, "1 grid"), (0, "0 grids")])
def test_two_grids_are_needed_and_an_existing_file_is_kept(gankit, run, toy, left, count):
    (toy / "x.gif").write_text("from before")
    for grid in sorted((run / "samples").iterdir())[left:]:
        grid.unlink()
    answer = gankit("animate", "run", "--out", "x.gif")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: run: {count} to animate; at least two are needed; train with a smaller output.sample_every\n"
    )
    assert (toy / "x.gif").read_text() == "from before"


# The file is cut in its first bytes, or after its size and metadata.
@pytest.mark.parametrize(("damaged", "length"), [("000004", 10), ("000007", 300)])
def test_a_damaged_grid_is_left_out(gankit, run, damaged, length):
    path = run / "samples" / f"{damaged}.png"
    path.write_bytes(path.read_bytes()[:length])
    answer = gankit("animate", "run", "--out", "x.gif")
    expected = f"run/samples/{damaged}.png: damaged, and left out\n3 frames of 4 grids: x.gif\n"
    assert (answer.code, answer.out, answer.err) == (0, expected, "")
    assert len(list(frames("x.gif"))) == 3
