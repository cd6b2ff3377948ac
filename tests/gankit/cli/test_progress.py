"""Progress of a run: speed, plain lines and the live display."""

import io
import sys

import pytest
from rich.console import Console

from gankit.cli.progress import STOPPING, LiveProgress, Pace, PlainProgress, run_progress
from gankit.cli.run_facts import describe_images
from gankit.formatting import duration, number, plural
from gankit.plugin.dataset import Dataset


class ManualClock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return ManualClock()


def train(pace, clock, iterations, seconds_each, start=0, images_each=10):
    for done in range(start + 1, start + iterations + 1):
        clock.time += seconds_each
        pace.mark(done, done * images_each)


def test_time_left_at_constant_speed(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    assert pace.seconds_left(100) is None
    assert pace.images_per_second() is None
    train(pace, clock, 40, 0.125)
    assert pace.seconds_left(60) == pytest.approx(60 * 0.125)
    assert pace.images_per_second() == pytest.approx(80)


def test_slow_first_iterations_are_forgotten(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    train(pace, clock, 1, 50.0)
    train(pace, clock, 400, 0.1, start=1)
    assert pace.seconds_left(100) == pytest.approx(10.0, rel=1e-6)


def test_speed_of_a_resumed_run_counts_this_process_only(clock):
    pace = Pace(clock)
    pace.mark(5000, 50_000)
    train(pace, clock, 10, 2.0, start=5000)
    assert pace.seconds_left(100) == pytest.approx(200.0)
    assert pace.images_per_second() == pytest.approx(5.0)


def test_time_left_decreases_during_an_iteration_but_not_below_zero(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    train(pace, clock, 2, 20.0)
    clock.time += 15
    assert pace.seconds_left(2) == pytest.approx(25.0)
    clock.time += 100
    assert pace.seconds_left(2) == 0


def test_memory_does_not_grow_with_the_run(clock):
    pace = Pace(clock)
    pace.mark(0, 0)
    train(pace, clock, 50_000, 0.001)
    assert len(pace.marks) <= Pace.WINDOW / Pace.SPACING + 3
    assert pace.seconds_left(1000) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"),
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
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.6931, "0.693"),
        (-12.5, "-12.500"),
        (0.0012, "1.20e-03"),
        (3e7, "3.00e+07"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_plural():
    assert [plural(1, "image"), plural(2000, "image"), plural(2, "class", "classes")] == [
        "1 image",
        "2,000 images",
        "2 classes",
    ]


class Run:
    """Part of a run that the displays use."""

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

    def train(self, iterations):
        self.iteration += iterations
        self.step_counts["discriminator"] += 3 * iterations


class Directory:
    path = "runs/x"


ROW = {
    "iteration": 30,
    "learning_rate": {"generator": 4.5e-4, "discriminator": 3e-4},
    "loss": {"generator": {"fool": 0.7}, "discriminator": {"real": 0.5, "fake": 0.25, "gradient_penalty": 0.0123}},
}


def test_describe_images():
    assert describe_images(Run()) == "3x32x32, no classes"
    assert describe_images(Run(tuple("0123456789"))).endswith("10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9")
    assert describe_images(Run(tuple("0123456789a"))).endswith("11 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")


def test_plain_lines(capsys, clock):
    progress, run = PlainProgress(), Run()
    progress.pace = Pace(clock)
    progress.started(run, Directory())
    assert capsys.readouterr().out == (
        "[bold]named: 3x32x32, no classes\ngenerator 100 parameters, discriminator 1 parameter, on cpu\ninto runs/x\n"
    )
    run.train(30)
    clock.time += 15
    progress.trained(run)
    progress.logged(ROW)
    assert capsys.readouterr().out == (
        "30/2000  generator: lr 0.00045 fool 0.700  "
        "discriminator: lr 0.0003 real 0.500 fake 0.250 gradient_penalty 0.012  384 images/s  16 min 25 s left\n"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_live_display_fits_its_terminal(width, clock):
    def frame():
        """Return what the display shows, without the control codes of the console that it runs on."""
        console = Console(file=io.StringIO(), width=width, color_system=None)
        console.print(progress.bars)
        return console.file.getvalue().splitlines()

    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    progress, run = LiveProgress(console), Run()
    progress.pace = Pace(clock)
    with progress:
        progress.started(run, Directory())
        run.train(500)
        clock.time += 250
        progress.trained(run)
        progress.logged(ROW)
        progress.evaluated(500, {"frechet_distance": 12.5}, 1.0)
        lines = frame()
        text = " ".join(" ".join(lines).split())
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith("[bold]named ")
        assert lines[0].rstrip().endswith("25%")
        for part in (
            "generator lr 0.00045 fool 0.700",
            "discriminator lr 0.0003 real 0.500",
            "fake 0.250",
            "metrics frechet_distance 12.500",
        ):
            assert part in text
        assert text.endswith("iteration 500/2000 384 images/s 12 min 30 s left")
        progress.warned("be [careful]")
        assert "warning: be [careful]" in " ".join(console.file.getvalue().split())
        progress.stopping()
        assert " ".join(" ".join(frame()).split()).endswith(STOPPING)


@pytest.mark.parametrize(
    ("terminal", "quiet", "environment", "expected"),
    [
        (True, False, {"TERM": "xterm"}, LiveProgress),
        (True, True, {"TERM": "xterm"}, PlainProgress),
        (True, False, {"TERM": "dumb"}, PlainProgress),
        (False, False, {"TERM": "xterm"}, PlainProgress),
        (False, False, {"TERM": "xterm", "FORCE_COLOR": "1"}, PlainProgress),
    ],
)
def test_live_display_only_on_a_capable_terminal(monkeypatch, terminal, quiet, environment, expected):
    class Stdout(io.StringIO):
        def isatty(self):
            return terminal

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Stdout())
    assert type(run_progress(quiet)) is expected
