"""Standard streams that ignore write errors, for example if a pipe or terminal is closed, or if the disk is full."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDIN, STDOUT, STDERR = 0, 1, 2


class LossyFile(io.FileIO):
    """Output file that drops all data after the first write error.

    Args:
        descriptor: file descriptor to write to. The descriptor stays open when this object is closed.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None
        """First write error, or None if no write has failed."""

    def write(self, data: Buffer, /) -> int:
        if self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
        # FileIO's `write` returns None if a non-blocking descriptor cannot accept data now. In this case, drop only the
        # data of this call.
        return memoryview(data).nbytes


def protect_standard_streams() -> LossyFile | None:
    """Replace stdout and stderr by streams that drop output after a write error.

    If a standard stream is closed when the program starts, open the null device with the descriptor of this stream.
    Otherwise, the next opened file would get this descriptor, and libraries would write their output to that file.
    Streams that do not write to the standard descriptors, such as the streams that pytest sets, are not replaced.

    Returns:
        The `LossyFile` of stdout, or None if stdout is not replaced.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # `os.open` uses the lowest free descriptor, which is the descriptor of the closed stream.
            os.open(os.devnull, os.O_RDWR)
    sys.stderr = _protected(sys.stderr, STDERR)
    sys.stdout = _protected(sys.stdout, STDOUT)
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return file if isinstance(file, LossyFile) else None


def _protected(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        # The stream was closed when the program started. Another file may use the stream's descriptor now.
        return open(os.devnull, "w", encoding="utf-8")
    try:
        if stream.fileno() != descriptor:
            return stream
    except (OSError, ValueError):
        return stream
    stream.flush()
    file = LossyFile(descriptor)
    line_buffering = descriptor == STDERR or file.isatty()
    return io.TextIOWrapper(io.BufferedWriter(file), stream.encoding, stream.errors, line_buffering=line_buffering)


def lost_output(file: LossyFile | None) -> str | None:
    """Return a message if output was lost, otherwise None. Output to a closed pipe does not count as lost."""
    if file is None or file.error is None or file.error.errno == errno.EPIPE:
        return None
    return f"standard output cannot be written: {file.error.strerror}; the output is incomplete"
