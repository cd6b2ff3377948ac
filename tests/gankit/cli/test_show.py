"""`gankit show`."""

import fcntl
import os
import pty
import struct
import termios
from contextlib import suppress

import pytest
from PIL import Image

from gankit.images.terminal import resize_to_fit
from tests.gankit.images.test_terminal import colours


@pytest.fixture(autouse=True)
def default_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(toy_run):
    """Directory of a run with grids at iterations 5 and 7."""
    return toy_run("run", "train.iterations=7")


@pytest.fixture
def on_a_terminal(start_process):
    """Function that runs the program on a terminal and returns its output."""

    def call(*arguments, columns=80, rows=24, **environment):
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment
        process = start_process(*arguments, environment=environment, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        written = b""
        with suppress(OSError):  # raised by Linux when the other end is closed
            while True:
                written += os.read(controller, 65536)
        os.close(controller)
        assert process.wait(timeout=10) == 0
        return written.decode().replace("\r\n", "\n")

    return call


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 3)])
def test_the_newest_grid_is_as_large_as_fits(on_a_terminal, run, columns, rows):
    text = on_a_terminal("show", "run", columns=columns, rows=rows)
    *lines, caption = text.splitlines()
    assert caption == "iteration 7: run/samples/000007.png"
    expected = resize_to_fit(Image.open("run/samples/000007.png"), columns, rows - 2)
    actual = colours("\n".join(lines))
    assert len(lines) <= rows - 2
    assert len(actual[0]) == expected.width <= columns
    for y in range(expected.height):
        assert actual[y] == [expected.getpixel((x, y)) for x in range(expected.width)]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_without_colours_only_the_path_is_printed(on_a_terminal, run, environment):
    assert on_a_terminal("show", "run", **environment) == "iteration 7: run/samples/000007.png\n"


def test_a_pipe_or_file_gets_only_the_path_unless_colours_are_forced(gankit, run, monkeypatch):
    for name, value in {"TERM": "xterm", "COLORTERM": "truecolor", "COLUMNS": "30"}.items():
        monkeypatch.setenv(name, value)
    answer = gankit("show", "run")
    assert (answer.code, answer.out, answer.err) == (0, "iteration 7: run/samples/000007.png\n", "")
    assert gankit("show", "run/samples/000007.png").out == "run/samples/000007.png\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    forced = gankit("show", "run").out.splitlines()
    assert len(colours("\n".join(forced[:-1]))[0]) == 30


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nowhere", "there is no image nowhere"),
        ("toy.toml", "toy.toml is not an image of a supported format"),
        ("run", "run: no grid is saved yet; `gankit resume run` resumes the run"),
    ],
)
def test_errors(gankit, run, path, expected):
    for grid in (run / "samples").iterdir():
        grid.unlink()
    answer = gankit("show", path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {expected}")
