"""`gankit watch`: the page, the display in the terminal, and the choice between them."""

import http.client
import io
import math
import os
import pty
import re
import signal
import socket
from contextlib import closing, suppress

import pytest
from rich.console import Console

from gankit.cli.watch_display import ASCII_BARS, BARS, curves_of, sparkline, watch_display
from gankit.report.run_record import read_run


@pytest.fixture
def run(toy_run):
    """Directory of a finished run with grids at iterations 5 and 7."""
    return toy_run("run", "train.iterations=7")


def times(path):
    return sorted((p.name, p.stat().st_mtime_ns) for p in [path, *path.rglob("*")])


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 5, ""),
        ([2.0], 5, "▁"),
        ([0.0, 7.0], 5, "▁█"),
        ([*range(8)], 8, BARS),
        ([*range(16)], 8, BARS),
        ([0.0, 0.0, 4.0, 10.0], 2, "▁█"),  # means 0 and 7
        ([0.0, math.nan, 7.0], 3, "▁ █"),
        ([math.inf, math.nan], 3, "  "),
        ([3.0, 3.0, 3.0], 3, "▁▁▁"),
    ],
)
def test_sparkline(values, width, expected):
    assert sparkline([*enumerate(values)], width) == expected


def test_the_intervals_of_a_sparkline_are_those_of_the_iterations():
    assert sparkline([(0, 0.0), (90, 7.0), (95, 7.0), (100, 7.0)], 4) == "▁  █"
    assert sparkline([(0, 0.0), (1, 7.0)], 2, ASCII_BARS) == "_#"


@pytest.mark.parametrize(("width", "height"), [(100, 40), (60, 8), (30, 6), (80, 1)])
def test_the_display_fits_the_terminal(run, width, height):
    record = read_run(run)
    names = [name for name, _ in curves_of(record)]
    assert names[0].startswith("generator: ")
    assert {"generator: gradient norm", "discriminator: gradient norm"} <= set(names)
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system="truecolor")
    console.print(watch_display(record, "finished: 7 iterations", console, grid=True))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) < max(height, 6)
    assert lines[0].startswith("toy  ")
    assert lines[1] == "finished: 7 iterations"[:width]
    if height == 40:
        assert [line[:29].rstrip() for line in lines[3 : 3 + len(names)]] == names
        assert "▀" in lines[3 + len(names)]
    else:
        left_out = len(names) - max(0, len(lines) - 4)
        assert lines[-1][:20] == f"and {left_out} more; a higher terminal shows them"[:20]


def test_a_pipe_gets_the_state_once(gankit, run, monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    before = times(run)
    answer = gankit("watch", "run", "--terminal")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[1] == "finished: 7 iterations"
    assert "gradient norm" in answer.out
    assert times(run) == before


def test_errors(gankit, toy):
    answer = gankit("watch", "nowhere")
    assert (answer.code, answer.err) == (2, "error: nowhere is not a run directory: it does not exist\n")
    (toy / "run").mkdir()
    (toy / "run" / "recipe.toml").write_text('name = "toy"\n')
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        answer = gankit("watch", "run", "--page", "--port", port)
    assert answer.code == 2
    assert re.match(rf"error: --host 127.0.0.1 --port {port}: .*; choose another port, or an address", answer.err)


def test_the_page_until_ctrl_c(start_process, run):
    before = times(run)
    process = start_process("watch", "run", "--port", "0", environment={"SSH_CONNECTION": "1 2 3 4"})
    line = process.stdout.readline()
    port = int(re.fullmatch(r"run: http://127\.0\.0\.1:(\d+)/ shows the run; Ctrl-C ends\n", line)[1])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/")
        assert "finished: 7 iterations" in connection.getresponse().read().decode()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    assert times(run) == before


def test_the_terminal_of_an_ssh_session_until_ctrl_c(start_process, run):
    controller, terminal = pty.openpty()
    environment = {"TERM": "xterm-256color", "SSH_CONNECTION": "1 2 3 4", "COLUMNS": "90", "LINES": "30"}
    process = start_process("watch", "run", environment=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    written = b""
    while b"finished: 7 iterations" not in written or b"gradient norm" not in written:
        written += os.read(controller, 65536)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # raised by Linux when the other end is closed
        while True:
            written += os.read(controller, 65536)
    os.close(controller)
    assert process.wait(timeout=20) == 0
    assert b"Traceback" not in written
    assert written.rstrip().endswith(b"\x1b[?25h")  # the cursor is visible again
