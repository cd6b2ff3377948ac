"""Data plugins `lines` and `equations`: texts from a file, and texts that are drawn by a rule."""

import pytest
import torch

from gankit import InputError, Spec, prepare
from gankit_plugins.data.equations import EQUATION, Equations, equations, is_correct, line_metrics
from gankit_plugins.data.lines import Lines
from gankit_plugins.data.text_data import draw_lines
from gankit_plugins.layers.characters import REPLACEMENT, decode

TEXT = "\ufeffAnna Bell\r\n\r\n  Øyvind   \nLi\fNa\n日本太郎"


def dataset_of(path, **settings):
    return Lines(Lines.Config(path=path, **settings)).load_data()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(TEXT.encode())
    return path


def lines_of(dataset):
    return decode(dataset.read().images, dataset.encoding["characters"])


def test_a_text_file_is_read_line_by_line(file):
    dataset = dataset_of(file)
    assert lines_of(dataset) == ["Anna Bell", "  Øyvind", "Li\fNa", "日本太郎"]
    alphabet = dataset.encoding["characters"]
    assert dataset.shape == (len(alphabet) + 1, 32)
    assert dataset.contents == f"4 lines, {len(alphabet)} characters"


def test_long_lines_rare_characters_and_further_lines_are_counted(file):
    dataset = dataset_of(file, length=5, max_characters=3, max_lines=2)
    assert dataset.shape == (4, 5)
    assert dataset.encoding["characters"] == f" n{REPLACEMENT}"
    assert lines_of(dataset) == [f"{REPLACEMENT}nn{REPLACEMENT} ", f"  {REPLACEMENT * 3}"]
    facts = "2 lines, 3 characters; 2 lines cut; 11 rare characters replaced; 2 further lines not used (data.max_lines)"
    assert dataset.contents == facts


def test_a_prepared_file_keeps_the_alphabet(file, tmp_path):
    prepare(dataset_of(file), tmp_path / "names.safetensors", "names.txt")
    prepared = dataset_of(tmp_path / "names.safetensors")
    assert prepared.encoding == dataset_of(file).encoding
    assert lines_of(prepared) == lines_of(dataset_of(file))
    prepare(Equations(Equations.Config(count=4)).load_data(), tmp_path / "equations.safetensors", "equations")
    assert len(lines_of(dataset_of(tmp_path / "equations.safetensors"))) == 4


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (None, {}, r"data\.path .*: cannot be read \(No such file or directory\); name a text file"),
        (b"", {}, "has no text; name a file with one text in each line"),
        (b" \n\n", {}, "has no text"),
        ("Zoë".encode("latin-1"), {}, r"is not a text in UTF-8 \(byte 2\); convert it"),
        (b"abc\n" * 60_000, {"length": 10_000}, r"60000 lines of 10000 places .* reduce data\.max_lines"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, settings, message):
    path = tmp_path / "x.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        dataset_of(path, **settings)


def test_a_prepared_file_of_images_is_refused(tmp_path):
    from gankit import Dataset

    images = Dataset((1, 2, 2), None, lambda: (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), None))
    prepare(images, tmp_path / "x.safetensors", "test")
    with pytest.raises(InputError, match="has no texts; name a text file"):
        dataset_of(tmp_path / "x.safetensors")


def test_samples_are_written_and_drawn_as_text(file, tmp_path):
    plugin = Lines(Lines.Config(path=file))
    dataset = plugin.load_data()
    spec, samples = Spec(shape=dataset.shape, encoding=dataset.encoding), dataset.read().images
    out = tmp_path / "lines.txt"
    assert plugin.save_sample_file(samples, out, spec) == out
    assert out.read_text(encoding="utf-8").split("\n") == [*lines_of(dataset), ""]
    paths = plugin.save_samples(samples[:2], ["a", "b"], tmp_path, spec)
    assert [path.name for path in paths] == ["a.txt", "b.txt"]
    assert [path.read_text(encoding="utf-8") for path in paths] == ["Anna Bell\n", "  Øyvind\n"]
    assert plugin.save_sample_file(samples, tmp_path / "lines.csv", spec) is None
    assert plugin.draw_samples(samples, spec).tobytes() == draw_lines(lines_of(dataset)).tobytes()
    # A generator of another dataset, for example in `gankit eval`, has no alphabet.
    assert plugin.draw_samples(samples, Spec(shape=dataset.shape)) is None


def test_a_picture_of_lines_has_columns():
    one, many = draw_lines(["ab"] * 32), draw_lines(["ab"] * 33)
    assert many.height == one.height
    assert many.width == 2 * one.width
    assert many.crop((0, 0, *one.size)).tobytes() == one.tobytes()
    assert one.getextrema()[0] < 100
    assert draw_lines([""]).getextrema() == (255, 255)


def test_minus_zero_is_no_number():
    assert is_correct("3-3=0") is True
    assert is_correct("3-3=-0") is None


def test_equations_are_correct_and_fit():
    for largest in (1, 9, 10, 100):
        lines = equations(300, largest, 0)
        assert all(is_correct(line) for line in lines)
        plugin = Equations(Equations.Config(count=300, largest=largest))
        assert lines_of(plugin.load_data()) == lines == plugin.lines()
    lines = equations(3000, 20, 1)
    assert {"20+20=40", "0-20=-20"} <= set(equations(20_000, 20, 0))
    assert 0.45 < sum("+" in line for line in lines) / 3000 < 0.55
    assert lines != equations(3000, 20, 2)


@pytest.mark.parametrize(
    ("line", "correct"),
    [
        *[("12+7=19", True), ("3-8=-5", True), ("0+0=0", True), ("12+7=18", False), ("3-8=5", False)],
        *[(line, None) for line in ("", "12+7", "12+7=", "012+7=19", "1*1=1", "-1+2=1", "1+1=2 ", "1+1=2\n")],
    ],
)
def test_correct_lines(line, correct):
    assert is_correct(line) is correct
    if correct is not None:
        left, right = line.split("=")
        assert (eval(left) == int(right)) is correct
        assert EQUATION.fullmatch(line)


def test_proportions_of_correct_lines():
    found = line_metrics(["1+1=2", "1+1=3", "2+2=4", "x"], {"1+1=2"})
    assert found == {"well_formed": 0.75, "correct": 0.5, "new_of_correct": 0.5}
    assert line_metrics(["x", "y"], set()) == {"well_formed": 0, "correct": 0, "new_of_correct": 0}
