"""`gankit sample`."""

import pytest
from PIL import Image


@pytest.fixture
def run(toy_run):
    """Directory of a run of two iterations."""
    return toy_run("run", "train.iterations=2")


def test_a_grid_has_a_row_for_each_class(gankit, run):
    answer = gankit("sample", "run", "--out", "grid.png", "--trust", "--count", 7)
    assert (answer.code, answer.out, answer.err) == (0, "6 images: grid.png\n", "")
    grid = Image.open("grid.png")
    # 3 x 2 images of 8 pixels with gaps of 1, enlarged eight times, and a margin for the names.
    assert grid.height == (2 * 9 + 1) * 8
    assert grid.width > (3 * 9 + 1) * 8
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
    assert "--out folder: exists already" in again.err


def test_seed_and_truncation_determine_the_images(gankit, run, toy):
    for out, seed in {"a.png": 3, "b.png": 3, "c.png": 4}.items():
        gankit("sample", "run", "--out", out, "--trust", "--seed", seed)
    a, b, c = ((toy / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    gankit("sample", "run", "--out", "d.png", "--trust", "--seed", 3, "--truncation", 0.5)
    assert (toy / "d.png").read_bytes() != a


def tiles(path, rows, columns):
    """Return the bytes of each image of a grid, by row and column. The names at the left are cut off."""
    grid = Image.open(path)
    grid = grid.crop((grid.width - (columns * 9 + 1) * 8, 0, grid.width, grid.height))
    corners = [[(8 * (1 + 9 * x), 8 * (1 + 9 * y)) for x in range(columns)] for y in range(rows)]
    return [[grid.crop((x, y, x + 64, y + 64)).tobytes() for x, y in row] for row in corners]


def test_an_interpolation_fills_the_grid_between_its_ends(gankit, run, toy):
    for out, more in {"grid.png": [], "lines.png": ["--interpolate"], "again.png": ["--interpolate"]}.items():
        answer = gankit("sample", "run/generator.safetensors", "--out", out, "--trust", "--count", 10, *more)
        assert (answer.code, answer.out, answer.err) == (0, f"10 images: {out}\n", "")
    grid, lines = tiles("grid.png", 2, 5), tiles("lines.png", 2, 5)
    for plain, row in zip(grid, lines, strict=True):
        assert row[0] == plain[0]
        assert row[-1] == plain[-1]
        assert len(set(row)) == 5
        assert row[1:4] != plain[1:4]
    assert Image.open("lines.png").size == Image.open("grid.png").size
    assert (toy / "lines.png").read_bytes() == (toy / "again.png").read_bytes()


def test_an_interpolation_within_one_class(gankit, run):
    answer = gankit("sample", "run", "--out", "x.png", "--trust", "--count", 11, "--class", "right", "--interpolate")
    assert answer.out == "9 images: x.png\n"
    assert Image.open("x.png").size == ((3 * 9 + 1) * 8,) * 2


def test_a_sweep_has_a_named_row_for_each_threshold(gankit, run):
    answer = gankit("sample", "run", "--out", "sweep.png", "--trust", "--count", 8, "--truncation", "0.1,0.5,inf")
    assert (answer.code, answer.out) == (0, "6 images: sweep.png\n")
    grid = Image.open("sweep.png")
    assert grid.height == (3 * 9 + 1) * 8
    rows = tiles("sweep.png", 3, 2)
    assert len({image for row in rows for image in row}) == 6
    # A row equals the grid with its threshold alone, and the last row the grid without truncation.
    for number, more in enumerate([["--truncation", "0.1"], ["--truncation", "0.5"], []]):
        gankit("sample", "run", "--out", "one.png", "--trust", "--count", 2, *more)
        assert [row[0] for row in tiles("one.png", 2, 1)] == rows[number]
    names = grid.crop((0, 0, grid.width - (2 * 9 + 1) * 8, grid.height))
    for row in range(3):
        assert names.crop((0, 8 + row * 72, names.width, 72 + row * 72)).getextrema()[0] < 128


def test_no_rows_if_a_plugin_draws_all_samples_as_one_image(gankit, toy):
    scattered = """
    @hookimpl
    def draw_samples(self, images):
        from PIL import Image
        return Image.new("L", (5, 5))


class G(nn.Module):"""
    source = (toy / "toy.py").read_text()
    (toy / "toy.py").write_text(source.replace("\n\nclass G(nn.Module):", scattered, 1))
    assert gankit("run", "toy.toml", "--out", "run", "train.iterations=1").code == 0
    assert gankit("sample", "run", "--out", "x.png", "--trust").code == 0
    for more in (["--interpolate"], ["--truncation", "1,2"]):
        answer = gankit("sample", "run", "--out", "y.png", "--trust", *more)
        assert answer.code == 2
        assert f"error: {more[0]}: a plugin draws all samples as one image, which has no rows" in answer.err


@pytest.mark.parametrize("file", ["run", "run/generator.safetensors"])
def test_code_named_by_a_file_is_imported_only_with_trust(gankit, run, file):
    answer = gankit("sample", file, "--out", "x.png", "--device", "cpu")
    assert answer.code == 2
    assert "imports" in answer.err
    assert "--trust" in answer.err
    assert gankit("sample", file, "--out", "x.png", "--trust", "--device", "cpu").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere", "--out", "x.png"], "there is no generator file nowhere"),
        (["toy.toml", "--out", "x.png"], "toy.toml"),
        ([".", "--out", "x.png"], ". is not a run directory: it has no recipe.toml"),
        (["run", "--out", "x.png", "--class", "middle"], "class 'middle': there are left, right"),
        (["run", "--out", "x.png", "--class", "2"], "class '2': there are left, right"),
        (["run", "--out", "x.png", "--truncation", "1e-9"], "truncation 1e-09: the prior has almost no"),
        (["run", "--out", "x.png", "--truncation", "2,1e-9"], "truncation 1e-09: the prior has almost no"),
        (
            ["run", "--out", "x.png", "--truncation", "2,1", "--interpolate"],
            "--interpolate: not possible with",
        ),
        (["run", "--out", "folder", "--truncation", "2,1"], "--truncation: rows need a grid; give --out"),
        (["run", "--out", "folder", "--interpolate"], "--interpolate: rows need a grid; give --out"),
        (["run", "--out", "x.png", "--interpolate", "--count", 4], "--interpolate: rows of 2 have nothing between"),
        (["run", "--out", "x.png", "--device", "quantum"], "'quantum'"),
        (["run", "--out", "x.jpg"], "--out x.jpg: unknown file type; the name of the file must end in .png"),
        (["run", "--out", "toy.py"], "--out toy.py: exists already"),
        (["run", "--out", "toy.py/x.png"], "could not be written"),
    ],
)
def test_errors(gankit, run, toy, arguments, expected):
    answer = gankit("sample", *arguments, "--trust")
    assert answer.code in (1, 2)
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert not (toy / "x.png").exists()
    assert not (toy / "folder").exists()


@pytest.mark.parametrize("given", ["nan", "1,nan", "0", "-1"])
def test_thresholds_are_numbers_above_0(gankit, run, toy, given):
    answer = gankit("sample", "run", "--out", "x.png", "--trust", "--truncation", given)
    assert answer.code == 2
    assert "Invalid value for '--truncation'" in answer.err
    assert not (toy / "x.png").exists()


def test_a_run_without_a_generator(gankit, run):
    (run / "generator.safetensors").unlink()
    answer = gankit("sample", "run", "--out", "x.png", "--trust")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: run: no generator is saved yet; `gankit resume run` resumes the run\n"
