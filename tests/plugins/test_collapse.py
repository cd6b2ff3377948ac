"""Collapsed run: warnings in its metrics, its log and at the top of its report page."""

from html.parser import HTMLParser

import pytest

from gankit import Recipe
from gankit.recipe.bundled import find_recipe
from gankit.report.page import write_report
from gankit.training.launch import start
from gankit.training.reporter import Reporter

COLLAPSING = [
    "train.batch_size=64",
    "data.count=4000",
    "output.log_every=20",
    # G stays near its initial images in the centre, and D separates them from the ring at once.
    "optimizer.generator.lr=1e-7",
    "optimizer.discriminator.lr=1e-2",
]
WATCHED = ["tricks.training_monitor={every=5}", "tricks.collapse_guard={every=5}"]


class FirstScreen(HTMLParser):
    """Text of a page up to its first image or chart."""

    def __init__(self, text):
        super().__init__()
        self.words, self.over, self.hidden = [], False, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.over |= tag in ("img", "svg")
        self.hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.over and not self.hidden:
            self.words.append(" ".join(data.split()))


@pytest.mark.parametrize(("watching", "iterations"), [(WATCHED, 100), ([], 20)], ids=["watched", "unwatched"])
def test_collapse_is_reported_in_metrics_log_and_page(watching, iterations, tmp_path):
    settings = [*COLLAPSING, f"train.iterations={iterations}", f"output.sample_every={iterations // 4}", *watching]
    recipe = Recipe.load(find_recipe("gaussian_ring"), settings)
    directory, outcome = start(recipe, tmp_path / "run", Reporter())
    log = directory.read_log()
    newest = [row["metrics"] for row in log if "metrics" in row][-1]
    assert newest["modes"] < 4
    assert newest["good"] < 0.5

    warnings = [row["warning"] for row in log if "warning" in row]
    metric_warning = f"modes is {newest['modes']:g}: the samples cover fewer than half of the 8 modes"
    expected = ["D's loss is nearly 0", "G has collapsed to few images"] if watching else []
    for sentence in [metric_warning, *expected]:
        assert any(sentence in warning for warning in warnings), sentence

    write_report(directory)
    page = directory.report_file.read_text(encoding="utf-8")
    first = "\n".join(FirstScreen(page).words)
    ending = "stopped at iteration" if watching else f"finished: {iterations} iterations"
    for sentence in [ending, metric_warning, *expected, f"modes {newest['modes']:g}, good {newest['good']:.4g}"]:
        assert sentence in first, sentence
    assert f'class="status {"error" if watching else "warning"}"' in page
    assert (outcome.stop_reason is not None) == bool(watching)
