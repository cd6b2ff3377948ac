"""Progress of a study: the whole study, each run in progress, and the time left."""

import io
import json

import pytest
from rich.console import Console

from gankit import GankitError, Recipe
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.cli.study_progress import STOPPING, LiveStudyProgress, StudyProgress
from gankit.recipe.bundled import find_recipe


@pytest.fixture
def study(tmp_path):
    """Study of eight runs of 100 iterations."""
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["train.iterations=100"])
    return Study(tmp_path, add_each(recipe, ["packing"]), [0, 1, 2, 3], 1)


def console(width, height):
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)


def lines_of(progress):
    with progress.console.capture() as capture:
        progress.console.print(progress.bars)
    return capture.get().splitlines()


def log(run, iteration):
    run.path.mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": n, "seconds": n * 0.5, "loss": {}} for n in (iteration // 2, iteration)]
    (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_display_fits_its_terminal_and_shows_the_time_left(study, clock, width):
    first, second, *_ = study.runs
    progress = LiveStudyProgress(study, console(width, 40), clock)
    progress.polled([first, second])
    assert progress.seconds_left() is None
    log(first, 60)
    log(second, 20)
    clock.time += 40
    progress.polled([first, second])
    # 80 of 800 iterations in 40 s: 360 s for the others. The first run needs 40 more, of half a second each.
    assert progress.seconds_left() == pytest.approx(360)
    assert progress.run_seconds_left(first) == pytest.approx(20)
    # Without new iterations, for example during an evaluation, the time left falls.
    clock.time += 30
    progress.polled([first, second])
    assert progress.seconds_left() == pytest.approx(330)
    lines = lines_of(progress)
    assert all(len(line) <= width for line in lines)
    assert "10%" in lines[0]
    assert "60/100 20 s left" in lines[1]
    assert "0 of 8 runs done, 2 running, 6 waiting" in " ".join(" ".join(lines).split())
    progress.ended(first, {"iterations": 60, "stop_reason": None, "failed": "iteration 60: it is nan. Help"})
    assert progress.state().startswith("1 of 8 runs done, 1 failed")
    progress.stopping()
    assert " ".join(" ".join(lines_of(progress)).split()).endswith(STOPPING)


def test_a_resumed_study_counts_the_iterations_of_runs_that_wait(study, clock):
    for run in study.runs:
        log(run, 50)
    progress = StudyProgress(study, clock)
    first = study.runs[0]
    progress.polled([first])
    clock.time += 10
    log(first, 60)
    progress.polled([first])
    # 10 iterations took 10 s; 7 times 50 and 40 are left.
    assert progress.seconds_left() == pytest.approx(390)


def test_a_failed_run_is_counted_and_needs_no_more_time(study, clock):
    progress = StudyProgress(study, clock)
    first, second, *others = study.runs
    progress.polled([first])
    clock.time += 50
    log(first, 50)
    progress.polled([first])
    progress.failed(second, GankitError("a bug"))
    assert progress.seconds_left() == pytest.approx(50 + 6 * 100)
    assert progress.state().startswith("0 of 8 runs done, 1 failed, 1 running, 6 waiting")
    for run in others:
        progress.ended(run, {"iterations": 100, "stop_reason": None, "failed": None})
    assert progress.seconds_left() == pytest.approx(50 * 50 / 650)


@pytest.mark.parametrize(("height", "width", "rows"), [(24, 50, 8), (12, 80, 8), (11, 80, 6), (6, 80, 1), (6, 40, 0)])
def test_the_last_line_is_never_cropped(study, clock, height, width, rows):
    """Rich crops lines that do not fit, from below."""
    progress = LiveStudyProgress(study, console(width, height), clock)
    progress.polled(study.runs)
    progress.stopping()
    lines = lines_of(progress)
    assert len(lines) < height
    assert sum("seed" in line for line in lines) == rows
    assert (f"... and {8 - rows} more" in [line.strip() for line in lines]) == (rows < 8)
    assert " ".join(" ".join(lines).split()).endswith(STOPPING)
