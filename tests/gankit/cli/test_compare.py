"""`gankit report` and `gankit compare`."""

import pytest


@pytest.fixture
def runs(toy, toy_run):
    """Folder with three runs: two of one recipe, and one that a plugin stops."""
    for name, overrides in {"a": [], "b": ["seed=1"], "c": ["tricks.s.use=./toy.py:Picky"]}.items():
        toy_run(name, "train.iterations=7", *overrides)
    return toy


def test_the_table_has_a_row_for_each_recipe_and_the_page_is_written(gankit, runs):
    answer = gankit("compare", "a", "b", "c", "--html", "deep/cmp.html")
    assert (answer.code, answer.err) == (0, "")
    lines = [line.rstrip() for line in answer.out.splitlines() if line.strip()]
    heads = "run state time images/s parameters of G parameters of D memory of the process"
    assert " ".join(lines[0].split()) == heads
    assert lines[2].startswith(" no tricks.s (seeds 0, 1)")
    assert "2 finished at 7" in lines[2]
    assert "490" in lines[2]
    assert lines[3].startswith(" tricks.s ")
    assert "stopped at 5" in lines[3]
    assert lines[-2:] == ["c: stopped at iteration 5: five [are] enough", "deep/cmp.html"]
    text = (runs / "deep" / "cmp.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "five [are] enough" in text


def test_a_report_can_be_written_again(gankit, toy):
    assert gankit("run", "toy.toml", "train.iterations=2", "--out", "a").code == 0
    page = (toy / "a" / "report.html").read_bytes()
    (toy / "a" / "report.html").unlink()
    answer = gankit("report", "a")
    assert (answer.code, answer.out, answer.err) == (0, "a/report.html\n", "")
    assert (toy / "a" / "report.html").read_bytes() == page
    assert gankit("report", "a", "--out", "folder/page.html").out == "folder/page.html\n"
    assert (toy / "folder" / "page.html").read_bytes() == page


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report", "a", "--out", "x.pdf"], "--out x.pdf: unknown file type; the name of the file must end in .html"),
        (["report", "a", "--out", "folder.html"], "--out folder.html: a folder of that name exists"),
        (["compare", "a", "toy.toml"], "toy.toml is not a run directory: it is a file"),
        (["compare", "a", "b", "a/../a"], "a: given twice; give each run once"),
        (["compare", "a", "--html", "x"], "--html x: unknown file type; the name of the file must end in .html"),
    ],
)
def test_errors_write_nothing(gankit, runs, arguments, expected):
    (runs / "folder.html").mkdir()
    before = sorted(path.name for path in runs.rglob("*"))
    answer = gankit(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {expected}")
    assert sorted(path.name for path in runs.rglob("*")) == before
