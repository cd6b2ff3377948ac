"""Ctrl-C: the iteration is finished, a checkpoint is written, and the run can go on."""

import os
import signal
import threading

import pytest

from gankit import Plugin, hookimpl
from gankit.runtime.signals import Interrupt


class Signals(Plugin):
    """Sends itself a signal in the middle of an iteration."""

    name = "signals"
    number = signal.SIGINT

    @hookimpl
    def before_d_step(self, run):
        if run.iteration == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_iteration_is_finished_and_the_run_can_go_on(shelf, play, go_on, number):
    unbroken = play("unbroken", tricks={"s": {"use": "Wander"}})
    Signals.number = number
    shelf.add(Signals)
    before = [signal.getsignal(n) for n in Interrupt.SIGNALS]
    run = play(tricks={"s": {"use": "Signals"}}, output={"checkpoint_every": 100})
    assert run.told.outcome.interrupted
    assert run.told.outcome.iterations == 3
    assert run.checkpoints == ["000003"]
    assert [signal.getsignal(n) for n in Interrupt.SIGNALS] == before
    again = go_on("run")
    assert again.told.outcome.iterations == 6
    assert not again.told.outcome.interrupted
    assert unbroken.told.outcome.iterations == 6


def test_an_interrupted_run_ends_with_the_bytes_of_one_that_was_not(shelf, play, go_on):
    class Once(Plugin):
        name = "once"
        armed = False

        @hookimpl
        def after_iteration(self, run):
            if Once.armed and run.iteration == 3:
                os.kill(os.getpid(), signal.SIGINT)

    shelf.add(Once)
    changes = {"tricks": {"once": {"use": "Once"}, "w": {"use": "Wander"}}}
    unbroken = play("unbroken", **changes)
    Once.armed = True
    assert play("broken", **changes).told.outcome.interrupted
    assert go_on("broken").generator == unbroken.generator


def test_the_first_signal_asks_and_a_later_one_acts(monkeypatch):
    told = []
    monkeypatch.setattr(Interrupt, "ECHO", 0.0)
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: told.append(1)) as interrupt:  # noqa: PT012
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        signal.raise_signal(signal.SIGINT)
    assert told == [1]


def test_where_another_rank_has_asked_already_the_first_signal_asks_too(monkeypatch):
    monkeypatch.setattr(Interrupt, "ECHO", 0.0)
    told = []
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: told.append(1)) as interrupt:  # noqa: PT012
        interrupt.requested = True
        signal.raise_signal(signal.SIGINT)
        assert told == [1]
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_has_words_to_say_at_the_end_says_them_and_what_follows_does_not_cut_them_short(monkeypatch, number):
    monkeypatch.setattr(Interrupt, "ECHO", 0.0)
    said = []

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
        said.append("the end")
    finally:
        for n, handler in zip(Interrupt.SIGNALS, before, strict=True):
            signal.signal(n, handler)
    assert said == ["the end"]


def test_an_echo_of_the_first_is_not_a_second():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert interrupt.requested


def test_outside_the_main_thread_there_is_nothing_to_listen_to():
    entered = []

    def play_along():
        with Interrupt() as interrupt:
            entered.append(interrupt.requested)

    thread = threading.Thread(target=play_along)
    thread.start()
    thread.join()
    assert entered == [False]
