"""Handling of signals that end a run, such as Ctrl-C.

The first signal ends the run after the current iteration. The second signal ends the process immediately.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Signals that cause a run to write a checkpoint and end.

The system sends SIGHUP when the terminal is closed. Clusters send SIGUSR1 before the time limit of a job. Windows has
neither SIGHUP nor SIGUSR1.
"""


def handled_signals() -> list[signal.Signals]:
    """Return all `SIGNALS`, but without SIGHUP if the process ignores this signal, for example under `nohup`."""
    hangup = getattr(signal, "SIGHUP", None)
    return [n for n in SIGNALS if n != hangup or signal.getsignal(n) != signal.SIG_IGN]


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt when one of `SIGNALS` arrives in the `with` block.

    The program can then catch this exception, for example to remove temporary files.
    """
    # Python can install signal handlers only in the main thread.
    numbers = handled_signals() if threading.current_thread() is threading.main_thread() else []
    previous = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Interrupt:
    """Context manager that handles `SIGNALS`. The first signal sets `requested`. The second signal ends the process.

    Args:
        on_request: function that the signal handler calls at the first signal.
        leave: function that the signal handler calls at the second signal. This function must install handlers for
            further signals and raise KeyboardInterrupt. If `leave` is None, the signal handler restores the previous
            handlers and raises the signal again.
    """

    DEBOUNCE_SECONDS = 1.0
    """Number of seconds after a handled signal during which further signals are ignored.

    The command `timeout` and shells send a signal to the process and also to its process group, so the signal may
    arrive twice.
    """

    def __init__(
        self, on_request: Callable[[], None] = lambda: None, leave: Callable[[], NoReturn] | None = None
    ) -> None:
        self.requested = False
        """True if the run must end, because this process or another rank has received a signal."""

        self.on_request, self.leave = on_request, leave
        self._last_signal: float | None = None
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        # Python can install signal handlers only in the main thread. In other threads, this class handles no signals.
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {number: signal.signal(number, self._handle) for number in handled_signals()}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._last_signal is None:
            self.requested, self._last_signal = True, time.monotonic()
            self.on_request()
        elif time.monotonic() - self._last_signal > self.DEBOUNCE_SECONDS:
            # The second signal may be delivered twice, like the first. Store its time, so that a duplicate is ignored.
            self._last_signal = time.monotonic()
            if self.leave is not None:
                # `leave` sets its own signal handlers, so __exit__ must not restore the previous ones.
                self._previous_handlers = {}
                self.leave()
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}
