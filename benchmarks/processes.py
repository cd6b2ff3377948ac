"""Programs that benchmarks start, and their times.

They run from bytecode that is up to date, as after an installation. The first run, which is not timed, writes the
bytecode into a folder of its own. Without bytecode, Python would compile every file, which takes longer than all that
is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

Command = Sequence[str]
GANKIT = (sys.executable, "-m", "gankit")


def environment(bytecode: Path) -> dict[str, str]:
    """Return the environment variables of this process, with a folder for bytecode."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return variables | {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONUNBUFFERED": "1"}


def seconds_until(command: Command, beginning: str, variables: dict[str, str]) -> float:
    """Return the seconds from a program's start to a line with this beginning; then kill the program."""
    began, lines = time.perf_counter(), []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=variables, text=True, **pipes) as process:
        for line in process.stdout:
            if line.startswith(beginning):
                seconds = time.perf_counter() - began
                process.kill()
                return seconds
            lines.append(line)
    raise RuntimeError(f"{' '.join(command)} ended without the line {beginning!r}:\n{''.join(lines)}")


def seconds_of(command: Command, variables: dict[str, str]) -> float:
    """Run a program, and return how many seconds it took. Raise an error if the program fails."""
    began = time.perf_counter()
    output_of(command, variables)
    return time.perf_counter() - began


def output_of(command: Command, variables: dict[str, str]) -> str:
    """Return the output of a program that must succeed."""
    ended = subprocess.run(command, env=variables, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout
