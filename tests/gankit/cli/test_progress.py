"""Progress of a run: speed, plain lines and the live display."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from torch import nn

from gankit import Plugin
from gankit.cli.progress import STOPPING, LiveProgress, Pace, PlainProgress, run_progress
from gankit.cli.run_facts import describe_images
from gankit.formatting import duration, number, plural
from gankit.plugin.condition import ClassCondition
from gankit.plugin.dataset import Dataset


@pytest.mark.parametrize(
    ("start", "phases", "rate"),
    [
        pytest.param(0, [(40, 0.125)], 80, id="constant speed"),
        pytest.param(0, [(1, 50.0), (400, 0.1)], 100, id="slow first iterations are forgotten"),
        pytest.param(5000, [(10, 2.0)], 5, id="a resumed run counts this process only"),
        pytest.param(0, [(50_000, 0.001)], 10_000, id="memory does not grow with the run"),
    ],
)
def test_speed(clock, start, phases, rate):
    """Batches of 10 images. `phases` are numbers of iterations and the seconds of each."""
    pace, done = Pace(clock), start
    pace.mark(done, 10 * done)
    assert pace.seconds_left(100) is None
    assert pace.images_per_second() is None
    for iterations, seconds in phases:
        for _ in range(iterations):
            clock.time += seconds
            done += 1
            pace.mark(done, 10 * done)
    assert pace.images_per_second() == pytest.approx(rate)
    assert pace.seconds_left(60) == pytest.approx(600 / rate)
    assert len(pace.marks) <= Pace.WINDOW / Pace.SPACING + 3


def test_time_left_decreases_during_an_iteration_but_not_below_zero(clock):
    pace = Pace(clock)
    for iteration in range(3):
        pace.mark(iteration, iteration)
        clock.time += 20
    assert pace.seconds_left(2) == pytest.approx(20)
    clock.time += 100
    assert pace.seconds_left(2) == 0


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (duration(0), "0 s"),
        (duration(59.4), "59 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(252), "4 min 12 s"),
        (duration(3599.9), "1 h 0 min"),
        (duration(7500), "2 h 5 min"),
        (duration(3 * 86400 + 4 * 3600 + 59), "3 d 4 h"),
        (number(0.0), "0.000"),
        (number(0.6931), "0.693"),
        (number(-12.5), "-12.500"),
        (number(0.0012), "1.20e-03"),
        (number(3e7), "3.00e+07"),
        (number(float("nan")), "nan"),
        (plural(1, "image"), "1 image"),
        (plural(2000, "image"), "2,000 images"),
        (plural(2, "class", "classes"), "2 classes"),
    ],
)
def test_formatting(written, text):
    assert written == text


def run_of(names=()):
    """Return the part of a run that the displays use."""
    return SimpleNamespace(
        recipe=SimpleNamespace(
            name="[bold]named",
            train=SimpleNamespace(iterations=2000, batch_size=64),
            plugin_class=lambda key: Plugin,
        ),
        iteration=0,
        device="cpu",
        dataset=Dataset((3, 32, 32), ClassCondition.of(names), load=lambda: None),
        generator=nn.Linear(9, 10),
        discriminator=nn.Linear(1, 1, bias=False),
        step_counts={"discriminator": 0},
        learning_rate=lambda player: 3e-4,
    )


ROW = {
    "iteration": 30,
    "learning_rate": {"generator": 4.5e-4, "discriminator": 3e-4},
    "loss": {"generator": {"fool": 0.7}, "discriminator": {"real": 0.5, "fake": 0.25, "gradient_penalty": 0.0123}},
}


def test_describe_images():
    assert describe_images(run_of()) == "3x32x32, no classes"
    assert describe_images(run_of(tuple("0123456789"))).endswith("10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9")
    assert describe_images(run_of(tuple("0123456789a"))).endswith("11 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_live_display_fits_its_terminal(width, clock):
    def frame():
        """Return what the display shows, without the control codes of the console that it runs on."""
        console = Console(file=io.StringIO(), width=width, color_system=None)
        console.print(progress.bars)
        return console.file.getvalue().splitlines()

    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    progress, run = LiveProgress(console), run_of()
    progress.pace = Pace(clock)
    with progress:
        progress.started(run, SimpleNamespace(path="runs/x"))
        run.iteration, run.step_counts["discriminator"] = 500, 1500
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
