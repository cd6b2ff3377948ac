"""`gankit show`."""

import fcntl
import os
import pty
import re
import struct
import termios

import pytest
from PIL import Image

from gankit.images.io import save_png
from gankit.images.terminal import resize_to_fit
from gankit.recipe.recipe import Recipe
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from tests.gankit.images.test_terminal import colours


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch):
    """Nothing in the environment asks for colours, for none, or for a size."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(toy):
    """The directory of a run of seven iterations, with grids at the fifth and the seventh."""
    start(Recipe.load("toy.toml", ["train.iterations=7"]), "run", Reporter())
    return toy / "run"


@pytest.fixture
def on_a_terminal(start_process):
    """What the program writes to a terminal of so many columns and rows."""

    def call(*arguments, columns=80, rows=24, **environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment
        process = start_process(*arguments, environment=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed.
                break
        os.close(ours)
        assert process.wait(timeout=10) == 0
        return shown.decode().replace("\r\n", "\n")

    return call


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (300, 80), (20, 60), (40, 3)])
def test_the_newest_grid_is_drawn_as_large_as_the_terminal_allows(on_a_terminal, run, columns, rows):
    text = on_a_terminal("show", "run", columns=columns, rows=rows)
    *lines, words = text.splitlines()
    assert words == "iteration 7: run/samples/000007.png"
    expected = resize_to_fit(Image.open("run/samples/000007.png"), columns, rows - 2)
    got = colours("\n".join(lines))
    assert len(lines) <= rows - 2
    assert len(got[0]) == expected.width <= columns
    for y in range(expected.height):
        assert got[y] == [expected.getpixel((x, y)) for x in range(expected.width)]


def test_fewer_colours_where_the_terminal_has_fewer(on_a_terminal, run):
    text = on_a_terminal("show", "run", COLORTERM="")
    assert re.search(r"\x1b\[38;5;\d+;48;5;\d+m▀", text)
    assert ";2;" not in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_without_colours_the_words_come_alone(on_a_terminal, run, environment):
    assert on_a_terminal("show", "run", **environment) == "iteration 7: run/samples/000007.png\n"


def test_so_they_do_in_a_pipe_unless_colours_are_forced(gankit_process, run):
    plain = {"TERM": "xterm", "COLORTERM": "truecolor", "COLUMNS": "30"}
    answer = gankit_process("show", "run", environment=plain)
    assert (answer.code, answer.out, answer.err) == (0, "iteration 7: run/samples/000007.png\n", "")
    forced = gankit_process("show", "run", environment=plain | {"FORCE_COLOR": "1"}).out.splitlines()
    assert len(colours("\n".join(forced[:-1]))[0]) == 30


def test_a_picture_file(gankit, toy):
    save_png(Image.new("L", (9, 9)), toy / "mine.png")
    assert gankit("show", "mine.png").out == "mine.png\n"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nowhere", "there is no picture nowhere"),
        ("toy.toml", "toy.toml is no picture, or of a kind that is not read here"),
        (".", ". is not a run directory: it has no recipe.toml"),
        ("run", "run holds no picture yet; `gankit resume run` goes on with the run"),
    ],
)
def test_what_cannot_be_shown(gankit, run, what, said):
    for grid in (run / "samples").iterdir():
        grid.unlink()
    answer = gankit("show", what)
    assert (answer.code, answer.out, answer.err) == (2, "", f"error: {said}\n")


def test_a_damaged_grid(gankit, run):
    (run / "samples" / "000007.png").write_bytes((run / "samples" / "000007.png").read_bytes()[:200])
    answer = gankit("show", "run")
    assert (answer.code, answer.out) == (2, "")
    assert "run/samples/000007.png cannot be read; it may be damaged" in answer.err
