"""Ctrl-C and SIGTERM: the iteration is finished, a checkpoint is written, then the run ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM only sets `requested`; one that comes later acts at once.

    Args:
        told: called once, from the signal's handler, when the first one comes.
        leave: raises KeyboardInterrupt on a later one, and decides what becomes of the signals that follow.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    ECHO = 1.0
    """Seconds. `timeout` and shells send one wish to the process and to its group, so that it arrives twice."""

    def __init__(self, told: Callable[[], None] = lambda: None, leave: Callable[[], NoReturn] | None = None) -> None:
        self.requested = False
        """Set too by whoever else asks for the end, as another rank does."""

        self.told, self.leave = told, leave
        self._since: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        # Only the main thread may listen to signals; a game played in another thread goes without.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._since is None:
            self.requested, self._since = True, time.monotonic()
            self.told()
        elif time.monotonic() - self._since > self.ECHO:
            # It may have an echo, while this is still at work.
            self._since = time.monotonic()
            if self.leave is not None:
                self._before = {}
                self.leave()
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
