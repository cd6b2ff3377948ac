"""Handling of Ctrl-C and SIGTERM: the first signal ends the run after the iteration, a later one ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn


class Interrupt:
    """Context in which the first SIGINT or SIGTERM only sets `requested`, and a later one ends the process.

    Args:
        on_request: called from the signal handler at the first signal.
        leave: called at a later signal. It raises KeyboardInterrupt and sets the handlers of further signals. If None,
            the later signal is handled as outside the context.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    DEBOUNCE_SECONDS = 1.0
    """Period after a signal in which others are ignored: `timeout` and shells signal the process and its group."""

    def __init__(
        self, on_request: Callable[[], None] = lambda: None, leave: Callable[[], NoReturn] | None = None
    ) -> None:
        self.requested = False
        """True if a signal or another rank has requested the end of the run."""

        self.on_request, self.leave = on_request, leave
        self._last_signal: float | None = None
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        # Python allows signal handlers only in the main thread. A run in another thread cannot be interrupted.
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._last_signal is None:
            self.requested, self._last_signal = True, time.monotonic()
            self.on_request()
        elif time.monotonic() - self._last_signal > self.DEBOUNCE_SECONDS:
            # The second signal may also arrive twice, while `leave` still runs.
            self._last_signal = time.monotonic()
            if self.leave is not None:
                # `leave` sets the handlers, so __exit__ must not restore the previous ones.
                self._previous_handlers = {}
                self.leave()
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}
