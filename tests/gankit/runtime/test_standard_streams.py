"""Standard streams that are closed or full do not end the program."""

import errno
import os
import subprocess
import sys

import pytest

from gankit.runtime.standard_streams import LossyFile, lost_output


def test_a_lossy_file_writes_until_the_first_error():
    reader, writer = os.pipe()
    file = LossyFile(writer)
    assert file.write(b"abc") == 3
    os.close(reader)
    assert file.write(b"def") == 3
    assert file.error.errno == errno.EPIPE
    assert lost_output(file) is None
    os.close(writer)
    full = LossyFile(os.open("/dev/full", os.O_WRONLY))
    assert full.write(b"abc") == 3
    assert "No space left on device" in lost_output(full)


PROTECTED = """
import sys
from gankit.runtime.standard_streams import protect_standard_streams
protect_standard_streams()
file = open("out.txt", "w")
print("lost")
print("lost", file=sys.stderr)
import os
os.write(1, b"of a library")
os.write(2, b"of a library")
file.write("kept")
file.close()
"""


def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path):
    command = f"\"{sys.executable}\" -c '{PROTECTED}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "out.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("redirect", "code"), [(">&-", 0), (">/dev/full", 1), ("2>&-", 0), ("2>/dev/full", 0), ("<&- >&- 2>&-", 0)]
)
def test_a_command_ends_without_a_traceback(redirect, code):
    command = f'"{sys.executable}" -m gankit list-plugins {redirect}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    expected = ["error: standard output cannot be written: No space left on device; the output is incomplete"]
    assert ended.stderr.splitlines() == (expected if code else [])


def test_a_reader_that_stops_reading_is_no_error():
    command = f'("{sys.executable}" -m gankit list-plugins; echo code $? >&2) | head -1'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == "code 0\n"
