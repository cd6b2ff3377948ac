"""The status line before a run starts."""

import io
import sys
from contextlib import suppress

import pytest

from gankit.cli.status_line import StatusLine
from tests.gankit.cli.conftest import Terminal


@pytest.mark.parametrize("error", [None, ValueError("wrong")])
def test_each_stage_replaces_the_last_one_and_the_line_is_cleared(monkeypatch, error):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with suppress(ValueError), StatusLine() as status:
        status.show("importing torch")
        status.show("reading the images")
        if error is not None:
            raise error
    assert sys.stderr.getvalue() == "\r\x1b[Kimporting torch ...\r\r\x1b[Kreading the images ...\r\r\x1b[K"


@pytest.mark.parametrize("case", ["quiet", "no terminal", "dumb", "another rank"])
def test_nothing_is_shown_without_a_terminal_or_on_other_ranks(monkeypatch, case):
    monkeypatch.setenv("TERM", "dumb" if case == "dumb" else "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO() if case == "no terminal" else Terminal())
    if case == "another rank":
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
    with StatusLine(quiet=case == "quiet") as status:
        status.show("importing torch")
    assert sys.stderr.getvalue() == ""
