"""Helpers for the plugins in this folder, which were written as a user writes them: with the documentation alone."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gankit.cli import run_command_line

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def run_gankit(*arguments: object) -> None:
    """Run a command of gankit in this process, which saves the time to start another one."""
    assert run_command_line([*map(str, arguments)]) == 0


@pytest.fixture
def killed_run_equals_whole_run(tmp_path):
    """Return a function that compares a run that was killed with one that was not, and returns the generator file."""

    def compare(recipe: str, *overrides: str) -> Path:
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        run_gankit("run", HERE / recipe, "--out", whole, "--quiet", *overrides)
        command = [sys.executable, "-m", "gankit", "run", HERE / recipe, "--out", killed, "--quiet", *overrides]
        process = subprocess.Popen(command)
        try:
            while not any(re.fullmatch(r"\d+", path.name) for path in killed.glob("checkpoints/*")):
                assert process.poll() is None, "the run ended before its first checkpoint"
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        run_gankit("resume", killed, "--quiet")
        expected = (whole / "generator.safetensors").read_bytes()
        assert (killed / "generator.safetensors").read_bytes() == expected
        return whole / "generator.safetensors"

    return compare


@pytest.fixture
def samples_twice(tmp_path):
    """Return a function that samples twice from a copy of a generator file, compares, and returns the copy."""

    def sample(file: Path, *options: str | Path) -> Path:
        alone = tmp_path / "elsewhere" / "copy.safetensors"
        alone.parent.mkdir()
        shutil.copy(file, alone)
        shutil.rmtree(file.parent)
        pictures = [alone.parent / "a.png", alone.parent / "b.png"]
        for picture in pictures:
            run_gankit("sample", alone, "--out", picture, "--trust", "--count", 16, *options)
        assert pictures[0].read_bytes() == pictures[1].read_bytes()
        return alone

    return sample
