"""Lock that allows only one process at a time to use a folder."""

from pathlib import Path

from filelock import FileLock, Timeout

from gankit.errors import InputError
from gankit.storage.atomic_io import disk_errors

GRACE_SECONDS = 0.2
"""Time in which `Lock.acquire` tries again. `Lock.is_held` of another process may hold a shared lock for a moment."""


class Lock:
    """Lock on the file `.lock` of a folder. The system releases the lock when the process that holds it ends.

    `what` describes the content of the folder in error messages, for example "run".
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.path, self.what = folder / ".lock", what
        # With `thread_local=False`, a thread can release a lock that another thread has acquired.
        self._lock = FileLock(self.path, thread_local=False)

    def acquire(self) -> None:
        """Acquire the lock. Raise InputError if another process holds the lock."""
        folder = self.path.parent
        with disk_errors(folder):
            try:
                self._lock.acquire(timeout=GRACE_SECONDS, poll_interval=0.02)
            except Timeout:
                message = f"{folder}: another process is at work on this {self.what}; wait for it or stop it"
                raise InputError(message) from None

    def release(self) -> None:
        """Release the lock if this object holds it."""
        self._lock.release(force=True)

    def is_held(self) -> bool:
        """Return True if a process holds the lock. The check creates no file, but needs write permission on Windows."""
        if not self.path.exists():
            return False
        try:
            import fcntl
        except ImportError:  # Windows has no module `fcntl`
            try:
                FileLock(self.path, thread_local=False).acquire(blocking=False).lock.release()
            except Timeout:
                return True
            return False
        try:
            with open(self.path) as file:
                # Request a shared lock with `flock`, which needs only read permission. FileLock needs write permission.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:  # another process has deleted the folder
            return False
        return False
