"""HTML pages, parsed: complete, self-contained, and safe against markup from recipes and plugins."""

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from gankit import Plugin, hookimpl
from gankit.images.io import read_note, save_png
from gankit.report.image_strips import image_strips, newest_until
from gankit.report.page import page, write_report, write_report_of
from gankit.report.run_record import read_run
from gankit.storage.run_dir import RunDir

NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)> & "quoted"'
EMPTY = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """Tags with their attributes, and text. Checks that every tag is closed in its order."""

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

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def attributes(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def text(self, *within):
        return " ".join(
            data for tag, data in self.texts if tag not in ("script", "style") and (not within or tag in within)
        )

    @property
    def numbers(self):
        """The points of each chart."""
        return [json.loads(a["data-lines"]) for a in self.attributes("figure") if "data-lines" in a]


class Nasty(Plugin):
    """Markup in warnings, in the reason of the ending and in the name of a metric."""

    name = "nasty"

    @hookimpl
    def compute_metrics(self):
        return {NASTY: 1.0}

    @hookimpl
    def after_iteration(self, run):
        run.warn(NASTY)
        if run.iteration == 4:
            run.stop(NASTY)


@pytest.fixture
def nasty(shelf, train_toy):
    shelf.add(Nasty)
    path = train_toy(tricks={"Nasty": {}}, evaluation={"every": 2, "count": 8, "budget": 1.0}).path
    # gankit refuses such a name, but a copied run directory may contain it.
    recipe = (path / "recipe.toml").read_text()
    assert 'name = "toy"' in recipe
    (path / "recipe.toml").write_text(recipe.replace('name = "toy"', f"name = {json.dumps(NASTY)}"))
    return path


def page_of(*paths):
    return page([read_run(path) for path in paths])


def test_the_page_is_self_contained(train_toy):
    text = page_of(train_toy("a").path, train_toy("b", seed=1).path)
    parsed = Page(text)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert {tag for tag, _ in parsed.tags} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    assert text.startswith("<!doctype html>")
    policy = next(a["content"] for a in parsed.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = f"img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy == f"default-src 'none'; {sources}"


def test_the_page_of_gankit_watch_may_only_request_its_own_server(train_toy):
    text = page([read_run(train_toy().path)], version="0a1b")
    parsed = Page(text)
    assert parsed.attributes("body") == [{"data-version": "0a1b"}]
    assert [a.get("role") for a in parsed.attributes("p") if a.get("id") == "live"] == ["status"]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for a in parsed.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.endswith(f"; script-src 'sha256-{digest}'; connect-src 'self'")
    assert re.findall(r"request\(([^)]*)\)", script) == ["path", '"status"', '"./"']


def test_the_page_of_a_run_has_its_facts(train_toy):
    run = train_toy(seed=5)
    parsed = Page(page_of(run.path))
    words = parsed.text()
    for text in ("finished: 6 iterations", "6 of 6", "parameters of G", "memory of the process", "sample_every = 3"):
        assert text in words
    assert [a["alt"] for a in parsed.attributes("img")] == [f"Samples of toy at iteration {i}" for i in (3, 6)]
    assert [a.get("lang") for a in parsed.attributes("html")] == ["en"]
    assert {a["name"] for a in parsed.attributes("meta") if "name" in a} == {"viewport"}
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in parsed.attributes("svg"))
    assert all(a["for"] == "iteration" for a in parsed.attributes("label"))
    assert all("scope" in a for a in parsed.attributes("th"))
    # The points of the charts are those of the log.
    generator, discriminator, norm, rate = parsed.numbers
    rows = run.reporter.rows
    assert generator[0]["x"] == [row["iteration"] for row in rows]
    for player, lines in (("generator", generator), ("discriminator", discriminator)):
        for line, term in zip(lines, rows[0]["loss"][player], strict=True):
            assert line["y"] == pytest.approx([row["loss"][player][term] for row in rows], rel=1e-4)
    for line, player in zip(norm, rows[0]["gradient_norm"], strict=True):
        assert line["y"] == pytest.approx([row["gradient_norm"][player] for row in rows], rel=1e-4)
    assert [line["y"] for line in rate] == [[0.01] * len(rows)] * 2


def test_markup_is_escaped_and_a_bad_ending_is_first(nasty, train_toy):
    other = train_toy("other").path
    for text in (page_of(nasty), page_of(other, nasty)):
        parsed = Page(text)
        assert len(parsed.attributes("script")) == 1
        assert not any("onerror" in attributes for _, attributes in parsed.tags)
        assert {a["src"][:11] for a in parsed.attributes("img")} == {"data:image/"}
        assert 'alert("x")' in parsed.text()
        assert text.count("</script>") == 1
        body = text[text.index("<main>") :]
        assert 'class="status error"' in body[:2500]
        assert body.index("stopped at iteration 4") < body.index("<table" if "runs</h1>" in body else "<dl")


def test_a_state_of_an_older_version_is_an_error(tmp_path):
    path = write_log(tmp_path / "run", [2])
    ended = {"state": "broken down", "iteration": 2, "reason": "iteration 2: D's real is nan"}
    (path / "environment.json").write_text(json.dumps({"ended": ended | {"seconds": 1.0, "peak_memory": {}}}))
    text = page_of(path)
    assert 'class="status error"' in text
    assert "broken down at iteration 2: D's real is nan" in Page(text).text("strong")


def test_a_report_that_cannot_be_written_is_a_message(train_toy, monkeypatch):
    def fail(directory):
        raise OSError("no\nroom")

    monkeypatch.setattr("gankit.report.page.write_report", fail)
    path, messages = train_toy().path, []
    write_report_of(RunDir(path), messages.append)
    assert messages == [f"{path}/report.html: not written: no room; `gankit report {path}` tries again"]


def test_the_page_of_several_runs_has_a_line_for_each(train_toy):
    other = train_toy("c", train={"discriminator_steps": 2}).path
    parsed = Page(page_of(train_toy("a").path, train_toy("b", seed=1).path, other))
    assert "train.discriminator_steps 1 (seeds 0, 1)" in parsed.text("th")
    for name in ("1, seed 0", "1, seed 1", "2"):
        assert f"train.discriminator_steps {name}" in parsed.text("h3")
    assert len(parsed.numbers[0]) == 3
    assert "Gradient norms" in parsed.text("h2")
    assert [len(lines) for lines in parsed.numbers[-2:]] == [3, 3]
    assert [a["class"] for a in parsed.attributes("path")][:3] == ["line s0", "line s0", "line s1"]
    assert "The runs draw from different z" in parsed.text("p")


def test_a_note_says_whether_grids_show_the_same_z(train_toy):
    a, b = train_toy("a").path, train_toy("b", train={"discriminator_steps": 2}).path
    assert read_note(a / "samples" / "000006.png", "z") == read_note(b / "samples" / "000006.png", "z") is not None
    assert "All images show the same z" in page_of(a, b)
    save_png(Image.new("L", (9, 9)), b / "samples" / "000006.png")
    assert "It is not recorded whether the images show the same z" in page_of(a, b)


def test_grids_of_other_z_than_the_newest_are_left_out(train_toy, resume_toy):
    path = train_toy("a").path
    resume_toy("a", "train.iterations=9", "output.sample_count=8")
    parsed = Page(page_of(path))
    assert [a["alt"] for a in parsed.attributes("img")] == ["Samples of toy at iteration 9"]
    assert "Left out because they show other z than the newest: 2 images." in parsed.text("p")
    # The older grids of the first run have other z. They must not count here.
    assert "All images show the same z" in page_of(path, train_toy("b", seed=0, output={"sample_count": 8}).path)


def test_different_losses_have_different_charts(shelf, toys, train_toy):
    class OtherLoss(toys.Loss):
        name = "other_loss"

    shelf.add(OtherLoss)
    heads = Page(page_of(train_toy("a").path, train_toy("b", loss={"use": "OtherLoss"}).path)).text("h3")
    assert "discriminator: real (Loss)" in heads
    assert "discriminator: real (OtherLoss)" in heads


def test_different_code_is_a_difference(train_toy):
    a, b = train_toy("a").path, train_toy("b", seed=1).path
    assert "source" not in Page(page_of(a, b)).text("td")
    environment = json.loads((b / "environment.json").read_text())
    environment["plugins"]["loss"]["sha256"] = "5" * 64
    (b / "environment.json").write_text(json.dumps(environment))
    parsed = Page(page_of(a, b))
    assert "loss: Loss" in parsed.text("th")
    assert "source 55555555" in parsed.text("td")


def write_log(path, iterations):
    """Write a recipe and a log with losses, as a run leaves them."""
    path.mkdir(exist_ok=True)
    (path / "recipe.toml").write_text('name = "toy"\n[train]\niterations = 6\n')
    row = {"seconds": 1.0, "images_per_second": 9.0, "learning_rate": {"generator": 0.01, "discriminator": 0.01}}
    row["loss"] = {"generator": {"fool": 0.7}, "discriminator": {"real": 0.6, "fake": 0.5}}
    (path / "log.jsonl").write_text("".join(json.dumps({"iteration": i, **row}) + "\n" for i in iterations))
    return path


@pytest.fixture
def grids(tmp_path):
    """Return a function that writes a run with copies of an image as its grids, and returns its directory."""
    path = write_log(tmp_path / "run", (2, 4, 6))

    def make(iterations, image):
        (path / "samples").mkdir()
        if image is not None:
            save_png(image, path / "grid.png")
        for iteration in iterations:
            shutil.copy(path / "grid.png", path / "samples" / f"{iteration:06d}.png")
        return path

    return make


def test_images_are_downsized_and_limited_in_number(grids, monkeypatch):
    record = read_run(grids(range(10, 310, 10), Image.effect_noise((700, 60), 80).convert("RGB")))
    strips = image_strips([record])
    assert len(strips.iterations) == 24
    assert (strips.iterations[0], strips.iterations[-1]) == (10, 300)
    assert {max(p.width, p.height) for p in strips.images[0]} == {560}
    assert sum(len(p.data) for p in strips.images[0]) <= 4_000_000
    monkeypatch.setattr("gankit.report.image_strips.MAX_BYTES", 1)
    least = image_strips([record])
    assert least.iterations == [300]
    assert [(p.iteration, max(p.width, p.height)) for p in least.images[0]] == [(300, 70)]


def test_the_size_of_a_page_of_many_runs_is_limited(grids):
    """Sixty long runs with large grids of noise, which JPEG hardly compresses, and with many log rows."""
    record = read_run(grids(range(10, 60, 10), Image.effect_noise((600, 600), 80).convert("RGB")))
    rows = [record.rows[0] | {"iteration": i} for i in range(1, 2_001)]
    runs = [replace(record, path=Path(f"r{n}"), recipe=record.recipe | {"seed": n}, rows=rows) for n in range(60)]
    strips = image_strips(runs)
    assert all(len(images) == 1 for images in strips.images)
    assert sum(len(images[0].data) for images in strips.images) <= 4_000_000
    assert len(page(runs)) < 8_000_000


def test_images_with_few_colours_are_lossless(grids):
    image = Image.new("RGB", (50, 40), (3, 200, 90))
    (encoded,) = image_strips([read_run(grids([7], image))]).images[0]
    assert encoded.kind == "png"
    assert Image.open(io.BytesIO(base64.b64decode(encoded.uri.partition(",")[2]))).tobytes() == image.tobytes()


@pytest.mark.parametrize(("iterations", "newest"), [([1, 5, 19, 20, 100], [5, 20, 40]), ([1, 4], [])])
def test_newest_until(iterations, newest):
    assert newest_until(dict.fromkeys([5, 20, 40]), iterations) == newest


def test_a_damaged_image_is_left_out(grids):
    path = grids([5, 20, 40], Image.new("L", (90, 90)))
    (path / "samples" / "000020.png").write_bytes((path / "samples" / "000020.png").read_bytes()[:60])
    parsed = Page(page_of(path))
    assert [a["alt"] for a in parsed.attributes("img")] == [f"Samples of toy at iteration {i}" for i in (5, 40)]
    assert "Left out because the file is damaged: 1 image." in parsed.text("p")


def test_a_page_without_images_and_metrics(grids):
    path = grids([], None)
    (path / "log.jsonl").unlink()
    parsed = Page(page_of(path))
    assert "No images yet." in parsed.text("p")
    assert parsed.numbers == []


def test_the_size_of_the_page_of_a_long_run_is_limited(tmp_path):
    path = write_log(tmp_path / "run", range(1, 16_001, 2))
    write_report(RunDir(path))
    assert (path / "report.html").stat().st_size < 500_000


def test_hidden_elements_stay_hidden(grids):
    """The slider of a single image is hidden. Its `display: flex` would show it without this rule."""
    assert "[hidden] { display: none !important; }" in page_of(grids([5], Image.new("L", (9, 9))))
