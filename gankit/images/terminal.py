"""Images as coloured text in a terminal. Each character shows two pixels, one above the other."""

from __future__ import annotations

from itertools import groupby

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

UPPER = "▀"
"""Half-block character. Its upper half has the text colour, and its lower half has the background colour."""


def resize_to_fit(image: Image.Image, columns: int, rows: int) -> Image.Image:
    """Return an image in RGB, downsized to fit into `columns` x `rows` characters. Small images are not enlarged.

    A character is about twice as high as wide and shows two pixels, one above the other.
    """
    scale = min(1.0, columns / image.width, 2 * rows / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def half_blocks(pixels: Image.Image) -> Text:
    """Return an image as coloured text. Each line of text shows two rows of pixels."""
    lines = []
    for top in range(0, pixels.height, 2):
        line = Text()
        # Write one escape sequence for neighbouring characters with the same colours, so that the text is shorter.
        for style, run in groupby(_style(pixels, x, top) for x in range(pixels.width)):
            line.append(UPPER * len(list(run)), style)
        lines.append(line)
    return Text("\n").join(lines)


def _style(pixels: Image.Image, x: int, top: int) -> Style:
    # If the number of pixel rows is odd, the lower half of the last line has the terminal's background colour.
    below = _colour(pixels, x, top + 1) if top + 1 < pixels.height else None
    return Style(color=_colour(pixels, x, top), bgcolor=below)


def _colour(pixels: Image.Image, x: int, y: int) -> Color:
    colour = pixels.getpixel((x, y))
    assert isinstance(colour, tuple), "resize_to_fit returns RGB"
    return Color.from_rgb(*colour)
