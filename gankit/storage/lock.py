"""Lock of a folder: one process at a time."""

from __future__ import annotations

import fcntl
from pathlib import Path

from filelock import FileLock, Timeout

from gankit.errors import InputError
from gankit.storage.atomic_io import disk_errors


class Lock:
    """A lock on the file `.lock` of a folder. It is free as soon as its process ends, even by a kill.

    Args:
        folder: an existing folder.
        what: what the folder holds, for the message: "run".
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.path, self.what = folder / ".lock", what
        # Not thread-local: the thread that releases the lock may be another one.
        self._lock = FileLock(self.path, thread_local=False)

    def acquire(self) -> None:
        """Acquire the lock."""
        folder = self.path.parent
        with disk_errors(folder):
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                message = f"{folder}: another process is at work on this {self.what}; wait for it or stop it"
                raise InputError(message) from None

    def release(self) -> None:
        """Release the lock if it is held."""
        self._lock.release(force=True)

    def is_held(self) -> bool:
        """Return whether a process holds the lock. Needs no right to write, and creates no file."""
        try:
            with open(self.path) as file:
                # filelock opens the file for writing. A shared lock needs no more than reading.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False
