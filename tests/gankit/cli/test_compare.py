"""`gankit report` and `gankit compare`."""

import subprocess
import sys

import pytest

from gankit.recipe.recipe import Recipe
from gankit.training.launch import start
from gankit.training.reporter import Reporter


@pytest.fixture
def runs(toy):
    """Three runs: two of one recipe, and one that a plugin stops."""
    for name, overrides in (
        ("a", []),
        ("b", ["seed=1"]),
        ("c", ["tricks.s.use='./toy.py:Stopper'"]),
    ):
        start(Recipe.load("toy.toml", ["train.iterations=7", *overrides]), name, Reporter())
    return toy


def test_a_table_a_row_for_what_differs(gankit_process, runs):
    answer = gankit_process("compare", "a", "b", "c")
    assert (answer.code, answer.err) == (0, "")
    lines = [line.rstrip() for line in answer.out.splitlines() if line.strip()]
    heads = "run state time images/s parameters of G parameters of D memory of the process"
    assert " ".join(lines[0].split()) == heads
    assert lines[2].startswith(" no tricks.s (seeds 0, 1)")
    assert "2 finished at 7" in lines[2]
    assert "404" in lines[2]
    assert lines[3].startswith(" tricks.s ")
    assert "stopped at 5" in lines[3]
    assert lines[-1] == "c: stopped at iteration 5: five [are] enough"
    assert not (runs / "a.html").exists()


def test_a_page(gankit, runs):
    answer = gankit("compare", "a", "c", "--html", "deep/cmp.html")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "deep/cmp.html"
    text = (runs / "deep" / "cmp.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "five [are] enough" in text


def test_a_report_is_there_and_can_be_written_again(gankit, runs):
    written = (runs / "a" / "report.html").read_bytes()
    (runs / "a" / "report.html").unlink()
    answer = gankit("report", "a")
    assert (answer.code, answer.out, answer.err) == (0, "a/report.html\n", "")
    assert (runs / "a" / "report.html").read_bytes() == written
    assert gankit("report", "a", "--out", "else/where.html").out == "else/where.html\n"
    assert (runs / "else" / "where.html").read_bytes() == written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "nowhere is not a run directory: it does not exist"),
        (["report", "a", "--out", "x.pdf"], "--out x.pdf: the page is written as HTML; name a file that ends in .html"),
        (["report", "a", "--out", "folder.html"], "--out folder.html: a folder of that name is in the way"),
        (["compare", "a", "toy.toml"], "toy.toml is not a run directory: it is a file"),
        (["compare", "a", "b", "a/../a"], "a is named twice; name each run once"),
        (["compare", "a", "--html", "x"], "--html x: the page is written as HTML; name a file that ends in .html"),
        (["compare", "a", "."], ". is not a run directory: it has no recipe.toml"),
    ],
)
def test_errors_are_sentences_and_nothing_is_written(gankit, runs, arguments, said):
    (runs / "folder.html").mkdir()
    before = sorted(path.name for path in runs.rglob("*"))
    answer = gankit(*arguments)
    assert (answer.code, answer.out, answer.err) == (2, "", f"error: {said}\n")
    assert sorted(path.name for path in runs.rglob("*")) == before


def test_runs_have_to_be_named(gankit):
    answer = gankit("compare")
    assert answer.code == 2
    assert "Missing argument 'RUN...'" in answer.err


@pytest.mark.parametrize("arguments", [["report", "a"], ["compare", "a", "b", "--html", "x.html"]])
def test_no_torch_is_needed(runs, arguments):
    code = (
        "import sys; from gankit.cli import main\n"
        f"try: main({arguments!r})\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "False\n")
