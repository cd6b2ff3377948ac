"""The page, parsed back: whole, by itself, and with nothing in it that a recipe or a plugin could smuggle in."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from gankit import GankitError, Plugin, hookimpl
from gankit.images.io import read_note, save_png
from gankit.report import page as page_module
from gankit.report.image_strips import shown_at, strips_of
from gankit.report.page import page, write_report
from gankit.report.run_record import read_run
from gankit.storage.run_dir import RunDir

NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)> & "quoted"'
EMPTY = {"meta", "img", "input", "br", "link"}
DRAWN = {"path", "line", "circle", "text"}


class Page(HTMLParser):
    """Tags with their attributes, the text of some, and whether every tag that opens is closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.stack, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def of(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]

    def text(self, *within):
        return " ".join(
            data for tag, data in self.texts if tag not in ("script", "style") and (not within or tag in within)
        )

    @property
    def numbers(self):
        return json.loads(next(data for tag, data in self.texts if tag == "script"))


class Nasty(Plugin):
    """Says and measures what no page should take for its own."""

    name = "nasty"

    @hookimpl
    def evaluate(self, run):
        return {NASTY: float(run.iteration)}

    @hookimpl
    def after_iteration(self, run):
        run.warn(NASTY)
        if run.iteration == 4:
            run.stop(NASTY)


@pytest.fixture
def nasty(shelf, play):
    shelf.add(Nasty)
    path = play(tricks={"Nasty": {"use": "Nasty"}}).path
    # No run is given such a name, but a stranger's directory may have it.
    recipe = (path / "recipe.toml").read_text()
    (path / "recipe.toml").write_text(recipe.replace('name = "toy"', f"name = {json.dumps(NASTY)}"))
    assert NASTY.split()[1] in (path / "recipe.toml").read_text()
    return path


def of(*paths):
    return page([read_run(path) for path in paths])


def test_the_page_holds_all_that_it_shows(play):
    text = of(play("a").path, play("b", seed=1).path)
    parsed = Page(text)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert {tag for tag, _ in parsed.tags} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    policy = next(a["content"] for a in parsed.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_a_run_reads_in_words(play):
    run = play(seed=5)
    parsed = Page((run.path / "report.html").read_text())
    words = parsed.text()
    for said in (
        "finished: 6 iterations",
        "6 of 6",
        "parameters of G",
        "memory of the process",
        "discriminator_steps = 1",
    ):
        assert said in words
    assert [a["alt"] for a in parsed.of("img")] == [f"Samples of toy at iteration {i}" for i in (3, 6)]
    assert [a.get("lang") for a in parsed.of("html")] == ["en"]
    assert {a["name"] for a in parsed.of("meta") if "name" in a} == {"viewport"}
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in parsed.of("svg"))
    assert all(a["for"] == "moment" for a in parsed.of("label"))
    assert all("scope" in a for a in parsed.of("th"))


def test_the_numbers_behind_the_lines_are_the_logs(play):
    run = play()
    generator, discriminator, rate = (Page(of(run.path)).numbers[str(i)] for i in range(3))
    rows = run.told.rows
    assert generator[0]["x"] == [row["iteration"] for row in rows]
    for player, lines in (("generator", generator), ("discriminator", discriminator)):
        for line, term in zip(lines, rows[0]["loss"][player], strict=True):
            assert line["y"] == pytest.approx([row["loss"][player][term] for row in rows], rel=1e-4)
    assert [line["y"] for line in rate] == [[0.01] * len(rows)] * 2


def test_what_runs_say_is_text_and_nothing_else(nasty, play):
    for text in (of(nasty), of(nasty, play("other").path)):
        parsed = Page(text)
        assert len(parsed.of("script")) == 2
        assert not any("onerror" in attributes for _, attributes in parsed.tags)
        assert {a["src"][:11] for a in parsed.of("img")} == {"data:image/"}
        assert 'alert("x")' in parsed.text()
        assert text.count("</script>") == 2


def test_how_a_run_went_wrong_stands_first(nasty, play):
    for text in (of(nasty), of(play("other").path, nasty)):
        body = text[text.index("<main>") :]
        assert 'class="told bad"' in body[:2500]
        assert body.index("stopped at iteration 4") < body.index("<table" if "runs</h1>" in body else "<dl")


def test_a_broken_run_has_a_report_too(play, tmp_path):
    with pytest.raises(GankitError):
        play(tricks={"nan": {"use": "NotANumber", "turn": 3}})
    text = (tmp_path / "run" / "report.html").read_text()
    assert "broken down at iteration 4: the " in Page(text).text("strong")


def test_a_report_that_cannot_be_written_harms_no_run(play, monkeypatch):
    def fails(directory):
        raise OSError("no\nroom")

    monkeypatch.setattr("gankit.training.launch.write_report", fails)
    run = play()
    assert run.told.outcome.iterations == 6
    assert (run.path / "generator.safetensors").exists()
    assert run.told.sentences[-1] == (f"report.html is not written: no room; `gankit report {run.path}` tries again")


def test_the_same_run_gives_the_same_page(play):
    path = play().path
    assert of(path) == of(path) == (path / "report.html").read_text()


# Several runs


def test_runs_side_by_side(play):
    paths = [play("a").path, play("b", seed=1).path, play("c", train={"discriminator_steps": 2}).path]
    parsed = Page(of(*paths))
    names = [
        "train.discriminator_steps 1, seed 0",
        "train.discriminator_steps 1, seed 1",
        "train.discriminator_steps 2",
    ]
    words = parsed.text("th")
    assert "train.discriminator_steps 1 (seeds 0, 1)" in words
    for name in names:
        assert name in parsed.text("h3")
    lines = parsed.numbers["0"]
    assert len(lines) == 3
    classes = [a["class"] for a in parsed.of("path")][:3]
    assert classes == ["line s0", "line s0", "line s1"]
    assert "The runs draw from different z" in parsed.text("p")


def test_the_same_z_is_known_by_what_the_grids_say_of_themselves(play):
    a, b = play("a").path, play("b", train={"discriminator_steps": 2}).path
    assert "In the same place the same z" in of(a, b)
    notes = {read_note(path / "samples" / "000006.png", "z") for path in (a, b)}
    assert len(notes) == 1
    assert None not in notes
    other = play("c", output={"sample_count": 6}).path
    assert "The runs draw from different z" in of(a, other)
    save_png(Image.new("L", (9, 9)), b / "samples" / "000006.png")
    assert "Whether the pictures are of the same z is not on record" in of(a, b)


def test_grids_of_other_z_than_the_newest_are_left_out(play, go_on):
    path = play("a").path
    go_on("a", "train.iterations=9", "output.sample_count=8")
    parsed = Page(of(path))
    assert [a["alt"] for a in parsed.of("img")] == ["Samples of toy at iteration 9"]
    assert "2 pictures of other z than the newest left out." in parsed.text("p")
    # What began with as many samples shows the same z, but an older grid of the first run would not.
    assert "In the same place the same z" in of(path, play("b", seed=0, output={"sample_count": 8}).path)


def test_losses_of_different_kinds_have_charts_of_their_own(shelf, toys, play):
    class OtherLoss(toys.Loss):
        name = "other_loss"

    shelf.add(OtherLoss)
    heads = Page(of(play("a").path, play("b", loss={"use": "OtherLoss"}).path)).text("h3")
    assert "discriminator: real (Loss)" in heads
    assert "discriminator: real (OtherLoss)" in heads


def test_code_that_differs_stands_among_the_differences(play):
    a, b = play("a").path, play("b", seed=1).path
    assert "source" not in Page(of(a, b)).text("td")
    note = json.loads((b / "environment.json").read_text())
    note["plugins"]["loss"]["sha256"] = "5" * 64
    (b / "environment.json").write_text(json.dumps(note))
    parsed = Page(of(a, b))
    assert "loss: Loss" in parsed.text("th")
    assert "source 55555555" in parsed.text("td")
    assert "Not of the same code in all runs: loss." in parsed.text("p")


# Pictures


@pytest.fixture
def grids(play):
    """The directory of a run with grids at some iterations."""
    path = play().path

    def make(iterations, drawn):
        for grid in (path / "samples").iterdir():
            grid.unlink()
        for iteration in iterations:
            save_png(drawn, path / "samples" / f"{iteration:06d}.png")
        return path

    return make


def noise(width, height):
    return Image.effect_noise((width, height), 80).convert("RGB")


def test_pictures_are_downsized_and_few_enough(grids, monkeypatch):
    record = read_run(grids(range(10, 310, 10), noise(700, 600)))
    strips = strips_of([record])
    assert len(strips.moments) <= 24
    assert (strips.moments[0], strips.moments[-1]) == (10, 300)
    assert {max(p.width, p.height) for p in strips.pictures[0]} == {560}
    assert sum(len(p.data) for p in strips.pictures[0]) <= 4_000_000
    monkeypatch.setattr("gankit.report.image_strips.MOST_BYTES", 1)
    least = strips_of([record])
    assert least.moments == [300]
    assert [(p.iteration, max(p.width, p.height)) for p in least.pictures[0]] == [(300, 70)]


def test_a_page_of_many_runs_is_bounded(grids):
    """Sixty long runs of large grids, which JPEG can hardly compress, and of losses that are written often."""
    record = read_run(grids(range(10, 60, 10), noise(700, 700)))
    row = record.rows[0]
    rows = [row | {"iteration": i} for i in range(1, 10_001)]
    runs = [replace(record, path=Path(f"r{n}"), recipe=record.recipe | {"seed": n}, rows=rows) for n in range(60)]
    strips = strips_of(runs)
    assert all(len(of) == 1 for of in strips.pictures)
    assert sum(len(of[0].data) for of in strips.pictures) <= 4_000_000
    assert len(page(runs)) < 8_000_000


def test_drawings_keep_their_pixels(grids):
    drawn = Image.new("RGB", (50, 40), (3, 200, 90))
    (picture,) = strips_of([read_run(grids([7], drawn))]).pictures[0]
    assert picture.kind == "png"
    assert Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))).tobytes() == drawn.tobytes()


def test_of_each_run_the_newest_picture_that_is_not_later(grids):
    found = read_run(grids([5, 20, 40], noise(9, 9))).grids
    assert shown_at(found, [1, 5, 19, 20, 100]) == [5, 20, 40]
    assert shown_at(found, [1, 4]) == []


def test_a_damaged_picture_is_left_out(grids):
    path = grids([5, 20, 40], noise(90, 90))
    (path / "samples" / "000020.png").write_bytes((path / "samples" / "000020.png").read_bytes()[:200])
    parsed = Page(of(path))
    assert [a["alt"] for a in parsed.of("img")] == [f"Samples of toy at iteration {i}" for i in (5, 40)]
    assert "1 picture cannot be read and left out." in parsed.text("p")


def test_without_pictures_and_numbers_the_page_stands(grids):
    path = grids([], None)
    (path / "log.jsonl").unlink()
    parsed = Page(of(path))
    assert "There are no pictures yet." in parsed.text("p")
    assert parsed.numbers == {}


def test_a_long_run_makes_no_heavy_page(play):
    path = play().path
    row = json.loads((path / "log.jsonl").read_text().splitlines()[0])
    lines = [json.dumps(row | {"iteration": i}) for i in range(1, 50_001, 2)]
    (path / "log.jsonl").write_text("\n".join(lines) + "\n")
    write_report(RunDir(path))
    assert (path / "report.html").stat().st_size < 500_000


def test_styles_and_script_travel_with_the_package():
    folder = page_module.files("gankit.report")
    for name, beginning in (("page.css", ":root {"), ("page.js", '"use strict"')):
        assert folder.joinpath(name).read_text(encoding="utf-8").startswith(beginning)


def test_what_is_hidden_is_not_shown_whatever_its_display():
    """A slider that has one picture to go through; `display: flex` would bring it back."""
    style = page_module.files("gankit.report").joinpath("page.css").read_text(encoding="utf-8")
    assert "[hidden] { display: none !important; }" in style
