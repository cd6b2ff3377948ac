"""How a study is shown: the whole, each run that is being played, and what is left."""

import io
import json

import pytest
from rich.console import Console

from gankit import GankitError, Recipe
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.cli.study_progress import STOPPING, StudyDisplay, StudyProgress
from gankit.recipe.bundled import find_recipe


class HandClock:
    time = 1000.0

    def __call__(self):
        return self.time


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_display_fits_its_terminal_and_knows_what_is_left(tmp_path, width):
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["train.iterations=100"])
    study = Study(tmp_path, add_each(recipe, ["packing"]), [0, 1], 1)
    first, second, *_ = study.runs
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    clock = HandClock()
    shown = StudyDisplay(study, console, clock)
    shown.polled([first, second])
    assert shown.seconds_left() is None
    for run, iteration in ((first, 60), (second, 20)):
        run.path.mkdir(parents=True)
        rows = [{"iteration": n, "seconds": n * 0.5, "loss": {}} for n in (iteration // 2, iteration)]
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    clock.time += 40
    shown.polled([first, second])
    # 80 of 400 iterations in 40 s: 160 s for the rest; the first run has 40 of half a second left.
    assert shown.seconds_left() == pytest.approx(160)
    assert shown.run_seconds_left(first) == pytest.approx(20)
    with console.capture() as capture:
        console.print(shown.drawn())
    lines = capture.get().splitlines()
    assert all(len(line) <= width for line in lines)
    assert "20%" in lines[0]
    assert "60/100 20 s left" in lines[1]
    assert "0 of 4 runs over, 2 running, 2 waiting" in " ".join(capture.get().split())
    shown.ended(first, {"iterations": 60, "stop_reason": None, "failed": "iteration 60: it is nan. Help"})
    assert shown.state().startswith("1 of 4 runs over, 1 broke down")
    shown.stopping()
    with console.capture() as capture:
        console.print(shown.drawn())
    assert " ".join(capture.get().split()).endswith(STOPPING)


@pytest.fixture
def study(tmp_path):
    """Of eight runs of 100 iterations."""
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["train.iterations=100"])
    return Study(tmp_path, add_each(recipe, ["packing"]), [0, 1, 2, 3], 1)


def log(run, iteration):
    run.path.mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": n, "seconds": n * 0.5, "loss": {}} for n in (iteration // 2, iteration)]
    (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_waits_half_played_counts_from_the_beginning(study):
    """A study that goes on knows what is left of runs that have not been started yet."""
    for run in study.runs:
        log(run, 50)
    clock = HandClock()
    shown = StudyProgress(study, clock)
    first = study.runs[0]
    shown.polled([first])
    clock.time += 10
    log(first, 60)
    shown.polled([first])
    # 10 iterations took 10 s, and 7 times 50 and 40 are left.
    assert shown.seconds_left() == pytest.approx(390)


def test_a_run_that_failed_is_counted_and_not_waited_for(study):
    clock = HandClock()
    shown = StudyProgress(study, clock)
    first, second, *others = study.runs
    shown.polled([first])
    clock.time += 50
    log(first, 50)
    shown.polled([first])
    shown.failed(second, GankitError("a bug"))
    assert shown.seconds_left() == pytest.approx(50 + 6 * 100)
    assert shown.state().startswith("0 of 8 runs over, 1 failed, 1 running, 6 waiting")
    for run in others:
        shown.ended(run, {"iterations": 100, "stop_reason": None, "failed": None})
    assert shown.seconds_left() == pytest.approx(50 * 50 / 650)


@pytest.mark.parametrize(("height", "width", "rows"), [(24, 50, 8), (12, 80, 8), (11, 80, 6), (6, 80, 1), (6, 40, 0)])
def test_the_last_line_is_never_cropped(study, height, width, rows):
    """rich leaves out what does not fit, from below."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    shown = StudyDisplay(study, console, HandClock())
    shown.polled(study.runs)
    shown.stopping()
    with console.capture() as capture:
        console.print(shown.drawn())
    lines = capture.get().splitlines()
    assert len(lines) < height
    assert sum("seed" in line for line in lines) == rows
    assert (f"... and {8 - rows} more" in [line.strip() for line in lines]) == (rows < 8)
    assert " ".join(capture.get().split()).endswith(STOPPING)
