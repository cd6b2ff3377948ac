"""Lock of a folder: one process at a time."""

import fcntl
from pathlib import Path

from filelock import FileLock, Timeout

from gankit.errors import InputError
from gankit.storage.atomic_io import disk_errors


class Lock:
    """A lock on the file `.lock` of a folder. The end of a process releases it, even after a kill.

    The message of an error calls the content of the folder `what`, for example "run".
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.path, self.what = folder / ".lock", what
        # The lock is not thread-local, because another thread may release it.
        self._lock = FileLock(self.path, thread_local=False)

    def acquire(self) -> None:
        """Acquire the lock, or raise InputError if another process holds it."""
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
        """Return whether a process holds the lock. This needs no write permission and creates no file."""
        try:
            with open(self.path) as file:
                # FileLock would open the file for writing. A shared lock needs only read permission.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False
