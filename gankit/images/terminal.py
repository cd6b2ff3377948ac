"""Pictures in a terminal: two pixels to a character."""

from __future__ import annotations

from itertools import groupby

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

UPPER = "▀"
"""The upper half of a character in its own colour, over the lower half in the background's."""


def resize_to_fit(drawn: Image.Image, columns: int, rows: int) -> Image.Image:
    """The picture in colour, made smaller until it fits so many characters, of which each shows two pixels, one above
    the other: they are about twice as high as wide. Never larger than it is."""
    share = min(1.0, columns / drawn.width, 2 * rows / drawn.height)
    size = (max(1, round(drawn.width * share)), max(1, round(drawn.height * share)))
    return drawn.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def half_blocks(pixels: Image.Image) -> Text:
    """A picture as coloured text, a line for every two rows of pixels."""
    lines = []
    for top in range(0, pixels.height, 2):
        line = Text()
        # Neighbours of one colour share an escape sequence: white gaps are most of many grids.
        for style, run in groupby(_style(pixels, x, top) for x in range(pixels.width)):
            line.append(UPPER * len(list(run)), style)
        lines.append(line)
    return Text("\n").join(lines)


def _style(pixels: Image.Image, x: int, top: int) -> Style:
    # Under the last of an odd number of rows is the terminal's own background.
    below = _colour(pixels, x, top + 1) if top + 1 < pixels.height else None
    return Style(color=_colour(pixels, x, top), bgcolor=below)


def _colour(pixels: Image.Image, x: int, y: int) -> Color:
    colour = pixels.getpixel((x, y))
    assert isinstance(colour, tuple), "fitted makes it RGB"
    return Color.from_rgb(*colour)
