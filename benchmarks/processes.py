"""Programs that benchmarks start, and the moment at which one of them has come so far.

They run from bytecode that is up to date, as after an ordinary install: a first run, which does not count, writes it
into a folder of its own. Without, Python compiles every file anew, which takes longer than all that is measured.
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
    """This process's variables, but for where bytecode is kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONUNBUFFERED": "1"}


def seconds_until(command: Command, beginning: str, variables: dict[str, str]) -> float:
    """From a program's start until it writes a line with this beginning; then it is killed.

    Raises RuntimeError with what it wrote when it ends without such a line.
    """
    began, said = time.perf_counter(), []
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(beginning):
                seconds = time.perf_counter() - began
                process.kill()
                return seconds
            said.append(line)
    raise RuntimeError(f"{' '.join(command)} never wrote {beginning!r}, but:\n{''.join(said)}")


def seconds_of(command: Command, variables: dict[str, str]) -> float:
    """From a program's start to its end. Raises RuntimeError with what it wrote when it fails."""
    began = time.perf_counter()
    output_of(command, variables)
    return time.perf_counter() - began


def output_of(command: Command, variables: dict[str, str]) -> str:
    """What a program writes. Raises RuntimeError, with that in it, when it fails."""
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
