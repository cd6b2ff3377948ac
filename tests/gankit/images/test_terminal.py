"""Tests of images as half blocks: the escape sequences are read back to pixels."""

import io
import re

import pytest
from PIL import Image
from rich.console import Console

from gankit.images.terminal import UPPER, half_blocks, resize_to_fit

SEQUENCE = re.compile(r"\x1b\[([\d;]*)m|(.)")


def colours(ansi):
    """Return the rows of pixels, with None for the terminal's own background."""
    rows = []
    for line in ansi.splitlines():
        upper, lower, above, below = [], [], None, None
        for codes, character in SEQUENCE.findall(line):
            if not character:
                numbers = [int(n) for n in codes.split(";")]
                above = tuple(numbers[2:5]) if numbers[0] == 38 else None
                below = tuple(numbers[7:10]) if numbers[5:7] == [48, 2] else None
            else:
                assert character == UPPER
                upper.append(above)
                lower.append(below)
        rows += [upper, lower]
    return rows


def printed(text, columns=200):
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=columns, no_color=False)
    console.print(text, crop=False)
    return console.file.getvalue()


def gradient(width, height):
    made = Image.new("RGB", (width, height))
    made.putdata([(100 + 3 * x, 60 + 5 * y, 200) for y in range(height) for x in range(width)])
    return made


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 4), (12, 9), (30, 30)])
def test_positions_of_pixels(size):
    width, height = size
    image = gradient(*size)
    rows = colours(printed(half_blocks(image), columns=width))
    assert len(rows) == height + height % 2
    for y, row in enumerate(rows):
        assert row == [image.getpixel((x, y)) if y < height else None for x in range(width)]


def test_neighbours_of_one_colour_share_an_escape_sequence():
    flat = printed(half_blocks(Image.new("RGB", (50, 4), (1, 2, 3))))
    assert flat.count("\x1b[") == 4  # two lines, each with a start and an end


@pytest.mark.parametrize(
    ("size", "columns", "rows", "expected"),
    [
        ((800, 400), 80, 50, (80, 40)),
        ((400, 800), 80, 20, (20, 40)),
        ((60, 30), 80, 50, (60, 30)),  # not enlarged
        ((5000, 3), 80, 50, (80, 1)),
        ((100, 100), 1, 1, (1, 1)),
    ],
)
def test_resize_to_fit_keeps_the_aspect_ratio(size, columns, rows, expected):
    made = resize_to_fit(Image.new("L", size, 77), columns, rows)
    assert (made.size, made.mode) == (expected, "RGB")
    assert made.getpixel((0, 0)) == (77, 77, 77)


def test_resize_to_fit_averages_pixels():
    checkerboard = Image.new("L", (400, 400))
    checkerboard.putdata([255 * ((x + y) % 2) for y in range(400) for x in range(400)])
    middle = resize_to_fit(checkerboard, 40, 20).crop((5, 5, 35, 35)).convert("L")
    assert all(abs(value - 127.5) < 8 for value in middle.getextrema())
