"""How a study is shown: the whole, each run that is being played, and what is left."""

import io
import json

import pytest
from rich.console import Console

from gankit import Recipe
from gankit.ablation.study import Study
from gankit.ablation.variants import with_each
from gankit.bundled import find_recipe
from gankit.cli.study_progress import STOPPING, StudyDisplay


class HandClock:
    time = 1000.0

    def __call__(self):
        return self.time


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_display_fits_its_terminal_and_knows_what_is_left(tmp_path, width):
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["train.iterations=100"])
    study = Study(tmp_path, with_each(recipe, ["packing"]), [0, 1], 1)
    first, second, *_ = study.runs
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    clock = HandClock()
    shown = StudyDisplay(study, console, clock)
    shown.look([first, second])
    assert shown.seconds_left() is None
    for run, iteration in ((first, 60), (second, 20)):
        run.path.mkdir(parents=True)
        rows = [{"iteration": n, "seconds": n * 0.5, "loss": {}} for n in (iteration // 2, iteration)]
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    clock.time += 40
    shown.look([first, second])
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
    shown.ended(first, {"iterations": 60, "stop_reason": None, "broke_down": "iteration 60: it is nan. Help"})
    assert shown.state().startswith("1 of 4 runs over, 1 broke down")
    shown.stopping()
    with console.capture() as capture:
        console.print(shown.drawn())
    assert " ".join(capture.get().split()).endswith(STOPPING)
