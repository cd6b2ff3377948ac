"""`gankit sample`."""

import pytest
from PIL import Image


@pytest.fixture
def run(toy_run):
    return toy_run("run", "train.iterations=2")


@pytest.fixture
def sample(gankit, run):
    return lambda out, *more, of="run": gankit("sample", of, "--out", out, "--trust", *more)


def test_a_grid_has_a_row_for_each_class(sample):
    answer = sample("grid.png", "--count", 7)
    assert (answer.code, answer.out, answer.err) == (0, "6 images: grid.png\n", "")
    grid = Image.open("grid.png")
    # 3 x 2 images of 8 pixels with gaps of 1, enlarged eight times, and a margin for the names.
    assert grid.height == (2 * 9 + 1) * 8
    assert grid.width > (3 * 9 + 1) * 8
    assert sample("one.png", "--count", 1).out == "2 images: one.png\n"


@pytest.mark.parametrize("more", [["--count", 9], ["--count", 11, "--interpolate"]])
def test_a_grid_of_one_class_is_a_square_without_names(sample, more):
    assert sample("grid.png", "--class", "b", *more).out == "9 images: grid.png\n"
    assert Image.open("grid.png").size == ((3 * 9 + 1) * 8,) * 2


def test_a_folder_has_a_file_for_each_image(sample, toy):
    assert sample("folder", "--count", 3).out == "3 images: folder\n"
    assert sorted(p.name for p in (toy / "folder").iterdir()) == ["000000_a.png", "000001_b.png", "000002_a.png"]
    assert sample("some", "--count", 2, "--class", 1).code == 0
    assert sorted(p.name for p in (toy / "some").iterdir()) == ["000000_b.png", "000001_b.png"]
    again = sample("folder", "--count", 3)
    assert again.code == 2
    assert "--out folder: exists already; choose a new folder, or a file that ends in .png" in again.err


def test_the_options_determine_the_images(sample, toy):
    options = {
        "a": ["--seed", 3],
        "again": ["--seed", 3],
        "seed": ["--seed", 4],
        "truncation": ["--seed", 3, "--truncation", 0.5],
        "lines": ["--seed", 3, "--interpolate"],
    }
    for out, more in options.items():
        assert sample(f"{out}.png", "--count", 10, *more, of="run/generator.safetensors").code == 0
    images = {out: (toy / f"{out}.png").read_bytes() for out in options}
    assert images.pop("again") == images["a"]
    assert len(set(images.values())) == 4
    assert Image.open("lines.png").size == Image.open("a.png").size


def test_a_sweep_has_a_named_row_for_each_threshold(sample):
    answer = sample("sweep.png", "--count", 8, "--truncation", "0.1,0.5,inf")
    assert (answer.code, answer.out) == (0, "6 images: sweep.png\n")
    grid = Image.open("sweep.png")
    assert grid.height == (3 * 9 + 1) * 8
    names = grid.crop((0, 0, grid.width - (2 * 9 + 1) * 8, grid.height))
    for row in range(3):
        assert names.crop((0, 8 + row * 72, names.width, 72 + row * 72)).getextrema()[0] < 128


def test_no_rows_if_a_plugin_draws_all_samples_as_one_image(sample, toy_run):
    toy_run("scattered", "train.iterations=1", "tricks.scattered.use=./toy.py:Scattered")
    assert sample("x.png", of="scattered").code == 0
    for more in (["--interpolate"], ["--truncation", "1,2"]):
        answer = sample("y.png", *more, of="scattered")
        assert answer.code == 2
        assert f"error: {more[0]}: a plugin draws all samples as one image, which has no rows" in answer.err


def test_all_samples_in_one_file(sample, toy, toy_run):
    toy_run("listed", "train.iterations=1", "tricks.listed.use=./toy.py:Listed")
    answer = sample("rows.txt", "--count", 4, of="listed")
    assert (answer.code, answer.out) == (0, "4 samples: rows.txt\n")
    whole = (toy / "rows.txt").read_text()
    assert whole == "4 samples of (1, 8, 8), condition [0, 1, 0, 1]"
    full = sample("rows.txt", "--count", 3, of="listed")
    assert (full.code, full.err.count("\n"), "disk is full" in full.err) == (1, 1, True)
    assert (toy / "rows.txt").read_text() == whole
    assert not list(toy.glob(".tmp-*"))
    for name in ("rows.csv", "rows.xls"):
        answer = sample(name, of="listed")
        expected = f"error: --out {name}: unknown file type; the name of the file must end in .png or .txt\n"
        assert (answer.code, answer.err) == (2, expected)
    assert "a plugin draws all samples as one image" in sample("folder", of="listed").err
    assert not [path for path in toy.iterdir() if path.suffix in (".csv", ".xls")]


@pytest.mark.parametrize("file", ["run", "run/generator.safetensors"])
def test_code_named_by_a_file_is_imported_only_with_trust(gankit, run, file):
    answer = gankit("sample", file, "--out", "x.png", "--device", "cpu")
    assert answer.code == 2
    assert "imports" in answer.err
    assert "--trust" in answer.err
    assert gankit("sample", file, "--out", "x.png", "--trust", "--device", "cpu").code == 0


@pytest.mark.parametrize(
    ("of", "out", "more", "expected"),
    [
        ("nowhere", "x.png", [], "there is no generator file nowhere"),
        ("toy.toml", "x.png", [], "toy.toml"),
        ("run", "x.png", ["--class", "middle"], "class 'middle': there are a, b"),
        ("run", "x.png", ["--truncation", "1e-9"], "truncation 1e-09: the prior has almost no"),
        ("run", "x.png", ["--truncation", "2,1e-9"], "truncation 1e-09: the prior has almost no"),
        ("run", "x.png", ["--truncation", "2,1", "--interpolate"], "--interpolate: not possible with"),
        ("run", "folder", ["--truncation", "2,1"], "--truncation: rows need a grid; give --out"),
        ("run", "folder", ["--interpolate"], "--interpolate: rows need a grid; give --out"),
        ("run", "x.png", ["--interpolate", "--count", 4], "--interpolate: rows of 2 have nothing between"),
        ("run", "x.jpg", [], "--out x.jpg: unknown file type; the name of the file must end in .png"),
        ("run", "x.csv", [], "--out x.csv: unknown file type; the name of the file must end in .png"),
        ("run", "toy.py", [], "--out toy.py: exists already"),
        ("run", "toy.py/x.png", [], "could not be written"),
    ],
)
def test_errors(sample, toy, of, out, more, expected):
    answer = sample(out, *more, of=of)
    assert answer.code in (1, 2)
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert not (toy / "x.png").exists()
    assert not (toy / "folder").exists()


@pytest.mark.parametrize("given", ["nan", "1,nan", "0", "1,-2", "1,"])
def test_thresholds_are_numbers_above_0(sample, given):
    answer = sample("x.png", "--truncation", given)
    assert answer.code == 2
    assert "Invalid value for '--truncation'" in answer.err


def test_a_run_without_a_generator(sample, run):
    (run / "generator.safetensors").unlink()
    answer = sample("x.png")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: run: no generator is saved yet; `gankit resume run` resumes the run\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "a", "--to-class", "b"], "--to-class: the generator takes only whole classes"),
        (["--to-class", "b"], "--to-class b: name the class of the first image of a row with --class"),
        (["--class", "a", "--to-class", "zebra"], "zebra"),
        (["--class", "a", "--to-class", "b", "--interpolate"], "--to-class: rows lead from class to class"),
        (["--class", "a", "--to-class", "b", "--truncation", "1,2"], "--to-class: rows lead from class to class"),
        (["--class", "a", "--to-class", "b", "--steps", "1"], "--steps"),
        (["--class", "a", "--steps", "5"], "--steps: is for rows from class to class and for ranges"),
    ],
)
def test_a_way_from_class_to_class_that_is_not_possible(sample, toy, options, message):
    answer = sample("x.png", *options)
    assert answer.code == 2
    assert message in answer.err
    assert not (toy / "x.png").exists()
    assert "--to-class: rows need a grid" in sample("folder", "--class", "a", "--to-class", "b").err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sweep", "class=a"], "give a range or several values, such as age=20..60"),
        (["--sweep", "=a,b"], "give a range or several values"),
        (["--sweep", "class=1..e"], "--sweep 1..e: give two numbers"),
        (["--sweep", "class=a,zebra"], "class 'zebra': there are a, b"),
        (["--sweep", "hair=a,b"], "hair: the generator takes classes"),
        (["--sweep", "class=a,b", "--class", "b"], "class: has one value and a sweep"),
        (["--sweep", "class=a,b", "--sweep", "class=b,a"], "give at most two sweeps, of different names"),
        (["--sweep", "class=a,b", "--sweep", "hair=b,a", "--count", "5"], "--count: two sweeps have one image"),
        (["--sweep", "class=a,b", "--interpolate"], "--sweep: leave out --interpolate"),
    ],
)
def test_a_sweep_that_is_not_possible(sample, toy, options, message):
    answer = sample("x.png", *options)
    assert answer.code == 2
    assert message in answer.err
    assert not (toy / "x.png").exists()


def test_a_sweep_over_classes(sample):
    assert sample("x.png", "--sweep", "class=b,a", "--count", 7).out == "6 images: x.png\n"
    size = Image.open("x.png").size
    # 3 rows and 2 columns of 8 pixels with gaps of 1, enlarged eight times, below a line with the names.
    assert size == ((2 * 9 + 1) * 8, (3 * 9 + 1) * 8 + 24)
    assert "--sweep: rows need a grid" in sample("folder", "--sweep", "class=a,b").err
