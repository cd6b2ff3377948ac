"""Ctrl-C and SIGTERM: the iteration is finished, a checkpoint is written, and the run can be resumed."""

import os
import signal
import threading

import pytest

from gankit import Plugin, hookimpl
from gankit.runtime.signals import Interrupt


class Signals(Plugin):
    """Send a signal to the process during the third iteration."""

    name = "signals"
    number = signal.SIGINT

    @hookimpl
    def before_d_step(self, run):
        if run.iteration == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_iteration_and_the_run_can_be_resumed(shelf, train_toy, resume_toy, number):
    Signals.number = number
    shelf.add(Signals)
    before = [signal.getsignal(n) for n in Interrupt.SIGNALS]
    run = train_toy(tricks={"s": {"use": "Signals"}}, output={"checkpoint_every": 100})
    assert run.reporter.outcome.interrupted
    assert run.reporter.outcome.iterations == 3
    assert run.checkpoints == ["000003"]
    assert [signal.getsignal(n) for n in Interrupt.SIGNALS] == before
    again = resume_toy("run")
    assert again.reporter.outcome.iterations == 6
    assert not again.reporter.outcome.interrupted


def test_an_interrupted_run_ends_with_the_same_bytes(shelf, train_toy, resume_toy):
    class Once(Plugin):
        name = "once"
        armed = False

        @hookimpl
        def after_iteration(self, run):
            if Once.armed and run.iteration == 3:
                os.kill(os.getpid(), signal.SIGINT)

    shelf.add(Once)
    changes = {"tricks": {"once": {"use": "Once"}, "w": {"use": "Wander"}}}
    unbroken = train_toy("unbroken", **changes)
    Once.armed = True
    assert train_toy("broken", **changes).reporter.outcome.interrupted
    assert resume_toy("broken").generator == unbroken.generator


def test_the_first_signal_is_a_request_and_a_later_one_acts(monkeypatch):
    requests = []
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: requests.append(1)) as interrupt:  # noqa: PT012
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        signal.raise_signal(signal.SIGINT)
    assert requests == [1]


def test_the_first_signal_after_the_request_of_another_rank_is_a_request(monkeypatch):
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", 0.0)
    requests = []
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: requests.append(1)) as interrupt:  # noqa: PT012
        interrupt.requested = True
        signal.raise_signal(signal.SIGINT)
        assert requests == [1]
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leave_decides_how_further_signals_are_handled(monkeypatch, number):
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", 0.0)
    reached = []

    def leave():
        for following in Interrupt.SIGNALS:
            signal.signal(following, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.getsignal(n) for n in Interrupt.SIGNALS]
    try:
        with pytest.raises(KeyboardInterrupt), Interrupt(leave=leave):  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        reached.append("the end")
    finally:
        for n, handler in zip(Interrupt.SIGNALS, before, strict=True):
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
