"""The line that says what is waited for."""

import io
import sys

import pytest

from gankit.cli.status_line import Waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_stderr(monkeypatch, file):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", file)
    return file


def test_each_takes_the_place_of_the_one_before_and_nothing_is_left(monkeypatch):
    terminal = on_stderr(monkeypatch, Terminal())
    with Waiting() as waiting:
        waiting.on("importing torch")
        waiting.on("reading the images")
    assert terminal.getvalue() == "\r\x1b[Kimporting torch ...\r\r\x1b[Kreading the images ...\r\r\x1b[K"


def test_an_error_finds_the_line_free(monkeypatch):
    terminal = on_stderr(monkeypatch, Terminal())

    def fails():
        with Waiting() as waiting:
            waiting.on("importing torch")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fails()
    assert terminal.getvalue() == "\r\x1b[Kimporting torch ...\r\r\x1b[K"


@pytest.mark.parametrize("case", ["quiet", "no terminal", "dumb", "another rank"])
def test_where_nothing_is_to_be_shown(monkeypatch, case):
    there = on_stderr(monkeypatch, io.StringIO() if case == "no terminal" else Terminal())
    if case == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if case == "another rank":
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
    with Waiting(quiet=case == "quiet") as waiting:
        waiting.on("importing torch")
    assert there.getvalue() == ""
