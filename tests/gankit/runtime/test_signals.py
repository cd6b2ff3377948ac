"""Ctrl-C and SIGTERM: the iteration is finished, a checkpoint is written, and the run can be resumed."""

import os
import signal
import threading

import pytest

from gankit import Plugin, hookimpl
from gankit.runtime.signals import SIGNALS, Interrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_finishes_the_iteration_and_a_resumed_run_ends_with_the_same_bytes(
    shelf, train_toy, resume_toy, number
):
    class Signals(Plugin):
        name = "signals"
        enabled = False

        @hookimpl
        def before_d_step(self, run):
            if self.enabled and run.iteration == 2:
                os.kill(os.getpid(), number)

    shelf.add(Signals)
    changes = {"tricks": {"s": {"use": "Signals"}, "w": {"use": "Wander"}}, "output": {"checkpoint_every": 100}}
    whole = train_toy("whole", **changes)
    Signals.enabled = True
    before = [signal.getsignal(n) for n in SIGNALS]
    run = train_toy(**changes)
    assert run.reporter.outcome.interrupted
    assert run.reporter.outcome.iterations == 3
    assert run.checkpoints == ["000003"]
    assert [signal.getsignal(n) for n in SIGNALS] == before
    again = resume_toy()
    assert not again.reporter.outcome.interrupted
    assert again.generator == whole.generator


@pytest.mark.parametrize("another_rank", [False, True])
def test_the_first_signal_is_a_request_and_a_later_one_acts(monkeypatch, another_rank):
    requests = []
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: requests.append(1)) as interrupt:  # noqa: PT012
        assert not interrupt.requested
        interrupt.requested = another_rank
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        assert requests == [1]
        signal.raise_signal(signal.SIGINT)
    assert requests == [1]


@pytest.mark.parametrize("number", SIGNALS)
def test_leave_decides_how_further_signals_are_handled(monkeypatch, number):
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", 0.0)
    reached = []

    def leave():
        for following in SIGNALS:
            signal.signal(following, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.getsignal(n) for n in SIGNALS]
    try:
        with pytest.raises(KeyboardInterrupt), Interrupt(leave=leave):  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        reached.append("the end")
    finally:
        for n, handler in zip(SIGNALS, before, strict=True):
            signal.signal(n, handler)
    assert reached == ["the end"]


def test_a_repeated_signal_is_ignored():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert interrupt.requested


def test_a_thread_has_no_signal_handlers():
    entered = []

    def enter():
        with Interrupt() as interrupt:
            entered.append(interrupt.requested)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [False]
