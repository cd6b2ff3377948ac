"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from gankit.errors import InputError
from gankit.storage.atomic_io import disk_errors


class Lock:
    """A file `.lock` in a folder, held until it is released or the process ends, however it ends.

    Args:
        folder: that is there.
        what: it is, for the message: "run".
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.path, self.what = folder / ".lock", what
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises InputError when another process has it."""
        with disk_errors(self.path.parent):
            self._file = open(self.path, "w")  # noqa: SIM115 (held until it is released)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(
                f"{self.path.parent}: another process is at work on this {self.what}; wait for it or stop it"
            ) from None

    def release(self) -> None:
        """Lets other processes in. One that is not held stays so."""
        if self._file is not None:
            self._file.close()
