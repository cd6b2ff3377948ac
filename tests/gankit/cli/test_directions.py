"""`gankit directions` and `gankit sample --direction`."""

import shutil

import numpy
import pytest
from PIL import Image

from gankit.images.io import read_image


@pytest.fixture
def run(toy_run):
    return toy_run("run", "train.iterations=2")


@pytest.fixture
def directions(gankit, run):
    return lambda *more, of="run": gankit("directions", of, "--trust", "--samples", "50", *more)


def pixels(path, of):
    """Return the images of a picture as (rows, columns, 8, 8), without the gaps and the margin for the names."""
    picture = read_image(path).convert("L")
    columns, rows = of
    small = picture.crop((picture.width - 8 * (9 * columns + 1), 0, *picture.size)).resize(
        (9 * columns + 1, 9 * rows + 1), Image.Resampling.NEAREST
    )
    array = numpy.asarray(small)
    rows_first = array[1:, 1:].reshape(rows, 9, columns, 9).swapaxes(1, 2)
    return rows_first[:, :, :8, :8]


def test_picture_has_a_row_for_each_direction_and_sample_moves_along_one(gankit, directions, run):
    answer = directions("--count", 3, "--range", 2, "--class", "b")
    expected = "3 directions of z: run/directions.safetensors and run/directions.png\n"
    assert (answer.code, answer.out, answer.err) == (0, expected, "")
    images = pixels("run/directions.png", (7, 3))
    assert (images[:, 3] == images[0, 3]).all()
    assert len({images[r, c].tobytes() for r in range(3) for c in (0, 6)}) == 6
    one = ("--trust", "--count", 1, "--class", "b", "--out", "one.png")
    for moves, place in (
        ((), (0, 3)),
        (("--direction", "1=2"), (1, 6)),
        (("--direction", "1=-2"), (1, 0)),
        (("--direction", "0=0", "--direction", "2=-2"), (2, 0)),
    ):
        assert gankit("sample", "run/generator.safetensors", *one, *moves).code == 0
        assert (pixels("one.png", (1, 1))[0, 0] == images[place]).all(), moves
    # Moves combine with the other options of `sample`.
    for name, more in {"lines.png": ["--interpolate"], "cut.png": ["--truncation", "0.5"], "folder": []}.items():
        answer = gankit("sample", "run", "--trust", "--count", 9, "--out", name, "--direction", "0=3", *more)
        assert (answer.code, answer.err) == (0, "")


def test_options_determine_the_directions(directions, run):
    outputs = {"a": (), "again": (), "seed": ("--seed", 1), "sefa": ("--method", "sefa"), "b": ("--class", "b")}
    for name, more in outputs.items():
        answer = directions("--out", f"{name}.safetensors", "--steps", 3, *more, of="run/generator.safetensors")
        assert answer.out == f"4 directions of z: {name}.safetensors and {name}.png\n"  # z has 4 numbers
    files = {name: (run.parent / f"{name}.safetensors").read_bytes() for name in outputs}
    assert files.pop("again") == files["a"]
    assert len(set(files.values())) == 4
    assert pixels("a.png", (3, 4)).any()
    shutil.copy(run / "generator.safetensors", run / "best.safetensors")
    answer = directions("--out", "folder", of="run/best.safetensors")
    assert "folder/best-directions.safetensors and folder/best-directions.png" in answer.out


def test_mistakes(gankit, directions, run, toy):
    def sample(*more):
        return gankit("sample", "run", "--trust", "--out", "x.png", *more)

    missing = (
        "error: --direction: there is no file run/directions.safetensors; find the directions with `gankit directions"
    )
    assert sample("--direction", "0=1").err == f"{missing} run`\n"
    assert directions("--out", "d.safetensors").code == 0
    given = ("--directions", "d.safetensors")
    assert sample("--direction", "0=1", *given).code == 0
    for more, message in (
        (("--direction", "4=1", *given), "direction 4: there are only directions 0 to 3; choose one"),
        (("--direction", "0=1", "--direction", "0=2", *given), "--direction 0: is given twice; keep one"),
        (given, "--directions d.safetensors: is for moves; add --direction, or leave it out"),
        (("--direction", "3"), "'3': give a direction and its standard deviations, such as 3=2.5"),
        (("--direction", "3=nan"), "'3=nan': give a direction and its standard deviations"),
        (
            ("--direction", "0=-1e300", *given),
            "'0=-1e300': give a direction and its standard deviations, such as 3=2.5; at most 1e+06",
        ),
        (("--direction", "0=1", "--directions", "none"), "there is no file of directions none"),
    ):
        answer = sample(*more)
        assert answer.code == 2
        assert message in answer.err
    (toy / "file").touch()
    shutil.copy(run / "generator.safetensors", run / "best.safetensors")
    before = (run / "best.safetensors").read_bytes()
    for more, message in (
        (("--out", "file"), "--out file: choose a folder, or a file that ends in .safetensors"),
        (("--out", "run/generator.safetensors"), "generator.safetensors has other tensors than directions; choose"),
        (("--out", "run/best.safetensors"), "run/best.safetensors has other tensors than directions; choose"),
        (("--class", "z"), "there are a, b"),
        (("--range", "0"), "--range"),
    ):
        answer = directions(*more)
        assert (answer.code, message in answer.err) == (2, True), answer.err
    assert not (run / "directions.png").exists()
    assert (run / "best.safetensors").read_bytes() == before


def test_directions_of_other_weights_are_refused(gankit, directions, toy_run):
    toy_run("other", "train.iterations=3")
    assert directions("--out", "other").code == 0
    answer = gankit("sample", "other", "--trust", "--out", "x.png", "--direction", "0=1")
    message = "other/directions.safetensors: the directions belong to a generator with other weights; write them again"
    assert (answer.code, message in answer.err) == (2, True)


def test_samples_without_rows_are_refused(gankit, toy_run):
    toy_run("run", "tricks.scattered.use=./toy.py:Scattered", "train.iterations=2")
    answer = gankit("directions", "run", "--trust")
    assert (answer.code, "which has no rows for directions" in answer.err) == (2, True)
