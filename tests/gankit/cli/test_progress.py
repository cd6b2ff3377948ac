"""How a run is shown: pace, words, lines and the live display."""

import io
import sys

import pytest
from rich.console import Console

from gankit.cli.progress import STOPPING, Display, Lines, Pace, progress
from gankit.cli.words import describe_images
from gankit.formatting import plural, duration, number
from gankit.plugin.dataset import Dataset
from gankit.training.assembly import assemble


class HandClock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return HandClock()


def played(pace, clock, iterations, seconds_each, start=0, images_each=10):
    for done in range(start + 1, start + iterations + 1):
        clock.time += seconds_each
        pace.mark(done, done * images_each)


def test_at_a_steady_pace_the_time_left_is_exact(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    assert pace.seconds_left(100) is None
    assert pace.images_per_second() is None
    played(pace, clock, 40, 0.125)
    assert pace.seconds_left(60) == pytest.approx(60 * 0.125)
    assert pace.images_per_second() == pytest.approx(80)


def test_a_slow_beginning_is_forgotten(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    played(pace, clock, 1, 50.0)
    played(pace, clock, 400, 0.1, start=1)
    assert pace.seconds_left(100) == pytest.approx(10.0, rel=1e-6)


def test_a_resumed_run_is_judged_by_what_this_process_played(clock):
    pace = Pace(clock)
    pace.mark(5000, 50_000)
    played(pace, clock, 10, 2.0, start=5000)
    assert pace.seconds_left(100) == pytest.approx(200.0)
    assert pace.images_per_second() == pytest.approx(5.0)


def test_in_a_long_iteration_the_time_left_runs_down_but_never_below_zero(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    played(pace, clock, 2, 20.0)
    clock.time += 15
    assert pace.seconds_left(2) == pytest.approx(25.0)
    clock.time += 100
    assert pace.seconds_left(2) == 0


def test_long_runs_take_no_more_memory(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    played(pace, clock, 50_000, 0.001)
    assert len(pace.marks) <= Pace.WINDOW / Pace.SPACING + 3
    assert pace.seconds_left(1000) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (252, "4 min 12 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.000"),
        (0.6931, "0.693"),
        (-12.5, "-12.500"),
        (0.0012, "1.20e-03"),
        (3e7, "3.00e+07"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value, words):
    assert number(value) == words


def test_counting():
    assert [plural(1, "image"), plural(2000, "image"), plural(2, "class", "classes")] == [
        "1 image",
        "2,000 images",
        "2 classes",
    ]


class TrainingRun:
    """As much of a game as the displays look at."""

    class recipe:  # noqa: N801
        name = "[bold]named"

        class train:  # noqa: N801
            iterations, batch_size = 2000, 64

    iteration = 0
    device = "cpu"

    def __init__(self, names=()):
        from torch import nn

        self.dataset = Dataset(3, 32, names, load=lambda: None)
        self.generator, self.discriminator = nn.Linear(9, 10), nn.Linear(1, 1, bias=False)
        self.step_counts = {"discriminator": 0}

    def learning_rate(self, player):
        return 3e-4

    def play(self, iterations):
        self.iteration += iterations
        self.step_counts["discriminator"] += 3 * iterations


class Directory:
    path = "runs/x"


ROW = {
    "iteration": 30,
    "learning_rate": {"generator": 4.5e-4, "discriminator": 3e-4},
    "loss": {"generator": {"fool": 0.7}, "discriminator": {"real": 0.5, "fake": 0.25, "gradient_penalty": 0.0123}},
}


def test_images_in_words():
    assert describe_images(assemble()) == "3x32x32, no classes"
    assert describe_images(assemble(tuple("0123456789"))).endswith("10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9")
    assert describe_images(assemble(tuple("0123456789a"))).endswith("11 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")


def test_lines(capsys, clock):
    shown, run = Lines(), assemble()
    shown.pace = Pace(clock)
    shown.began(run, Directory())
    assert capsys.readouterr().out == (
        "[bold]named: 3x32x32, no classes\ngenerator 100 parameters, discriminator 1 parameter, on cpu\ninto runs/x\n"
    )
    run.play(30)
    clock.time += 15
    shown.played(run)
    shown.logged(ROW)
    assert capsys.readouterr().out == (
        "30/2000  generator: lr 0.00045 fool 0.700  "
        "discriminator: lr 0.0003 real 0.500 fake 0.250 gradient_penalty 0.012  384 images/s  16 min 25 s left\n"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_display_fits_its_terminal(width, clock):
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    shown, run = Display(console), assemble()
    shown.pace = Pace(clock)
    shown.began(run, Directory())
    try:
        run.play(500)
        clock.time += 250
        shown.played(run)
        shown.logged(ROW)
        with console.capture() as capture:
            console.print(shown.drawn())
        lines = capture.get().splitlines()
        text = " ".join(" ".join(lines).split())
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith("[bold]named ")
        assert lines[0].rstrip().endswith("25%")
        for part in ("generator lr 0.00045 fool 0.700", "discriminator lr 0.0003 real 0.500", "fake 0.250"):
            assert part in text
        assert text.endswith("iteration 500/2000 384 images/s 12 min 30 s left")
        shown.stopping()
        with console.capture() as capture:
            console.print(shown.drawn())
        assert " ".join(capture.get().split()).endswith(STOPPING)
    finally:
        shown.live.stop()


@pytest.mark.parametrize(
    ("terminal", "quiet", "environment", "kind"),
    [
        (True, False, {"TERM": "xterm"}, Display),
        (True, True, {"TERM": "xterm"}, Lines),
        (True, False, {"TERM": "dumb"}, Lines),
        (False, False, {"TERM": "xterm"}, Lines),
        (False, False, {"TERM": "xterm", "FORCE_COLOR": "1"}, Lines),
    ],
)
def test_which_one_is_shown(monkeypatch, terminal, quiet, environment, kind):
    class Stdout(io.StringIO):
        def isatty(self):
            return terminal

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Stdout())
    assert type(progress(quiet)) is kind
