"""A process that decodes images, and both ends of the pipes to it.

Python lets one thread of a process work at a time; Pillow lets others in while it decodes and resizes, but for small
images that is the lesser part, so that threads make preparing them slower, not faster. A process for each core is as
fast as the cores are. What goes through the pipes is lengths and bytes, nothing that could execute.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import IO, Literal

from PIL import Image

from gankit import GankitError
from gankit_plugins.data.decode import ImageError, decode, refuse_large

LENGTH = struct.Struct("<q")
"""Goes before everything; its bits are turned over before what is set apart."""


class Decoder:
    """`decode` in a process of its own, which ends with this one.

    Args:
        resolution, channels: as for `decode`.

    Raises GankitError when the system starts no more processes.
    """

    def __init__(self, resolution: int, channels: Literal[1, 3]) -> None:
        # It finds what this process finds, and nothing that lies in the current folder besides.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in sys.path if folder)}
        with ExitStack() as opened:
            try:
                # Not its standard output: what is installed beside gankit may write there when Python starts.
                answers, sink = os.pipe()
                self.answers = opened.enter_context(os.fdopen(answers, "rb"))
                with open(sink, "wb"):
                    self.process = subprocess.Popen(
                        [sys.executable, "-P", "-m", __name__, str(sink), str(resolution), str(channels)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        pass_fds=[sink],
                        env=environment,
                        # Ctrl-C is for the process that asks.
                        start_new_session=True,
                    )
            except OSError as error:
                raise GankitError(f"a process that decodes images cannot be started ({error})") from error
            opened.pop_all()

    def decode(self, files: Sequence[str | bytes]) -> list[bytearray | ImageError]:
        """What `decode` gives of each file, from its path or its bytes, or why it gives nothing.

        Raises GankitError when the process is no more.
        """
        ask = self.process.stdin
        assert ask is not None
        try:
            ask.write(LENGTH.pack(len(files)))
            for file in files:
                _write(ask, os.fsencode(file), apart=isinstance(file, str))
            ask.flush()
            answers = [_read(self.answers) for _ in files]
        except (OSError, EOFError):
            raise GankitError(
                f"a process that decodes images has ended before its time, with exit status {self.process.wait()}; "
                "it may have run out of memory"
            ) from None
        return [ImageError(data.decode()) if apart else bytearray(data) for data, apart in answers]

    def end(self) -> None:
        """At once, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.answers):
            # What was still to be written has nowhere to go.
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


def serve(source: IO[bytes], sink: IO[bytes], resolution: int, channels: Literal[1, 3]) -> None:
    """The process's end: decodes what comes until nothing more does."""
    # Pillow warns of images of half the size that is refused here, and of odd EXIF data.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with suppress(EOFError):
        while True:
            # All are taken in before the first is answered: with both pipes full, each end would wait for the other.
            files = [_read(source) for _ in range(_length(source))]
            for data, is_path in files:
                try:
                    _write(sink, decode(_contents(data) if is_path else data, resolution, channels))
                except ImageError as error:
                    _write(sink, str(error).encode(errors="replace"), apart=True)
            sink.flush()


def _contents(path: bytes) -> bytes:
    try:
        refuse_large(os.stat(path).st_size)
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        error.filename = os.fsdecode(path)
        raise ImageError(str(error)) from error


def _write(sink: IO[bytes], data: bytes, apart: bool = False) -> None:
    """Some bytes, or, set apart from them, what stands in their place: a path or a reason."""
    sink.write(LENGTH.pack(~len(data) if apart else len(data)))
    sink.write(data)


def _read(source: IO[bytes]) -> tuple[bytes, bool]:
    """What `_write` wrote, and whether it was set apart."""
    length = _length(source)
    return _exactly(source, ~length if length < 0 else length), length < 0


def _length(source: IO[bytes]) -> int:
    (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
    return int(length)


def _exactly(source: IO[bytes], length: int) -> bytes:
    data = source.read(length)
    if len(data) < length:
        raise EOFError
    return data


if __name__ == "__main__":
    # Nobody may be there any more.
    with suppress(BrokenPipeError), open(int(sys.argv[1]), "wb") as answers:
        serve(sys.stdin.buffer, answers, int(sys.argv[2]), 1 if sys.argv[3] == "1" else 3)
