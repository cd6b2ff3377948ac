"""Base class of datasets of texts, with pictures and text files of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit import Dataset, Plugin, Spec, hookimpl
from gankit_plugins.layers.characters import KEY, alphabet_in, decode, encode, to_one_hot

FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 20, 8
"""Size of the font, distance between lines, and margin of a picture of lines, in pixels."""

LINES_IN_COLUMN = 32
"""Maximum number of lines in a column of a picture."""


class TextData(Plugin):
    """Base class of datasets of lines of text. A sample is a sequence of characters, (V, T) float32.

    The vector at each place is one-hot, with the values 0 and 1, for V - 1 characters and the end of the line.
    Generated samples have probabilities instead, and the most probable character is shown.
    """

    kind = "data"
    sample_suffixes: ClassVar = (".txt",)

    @hookimpl
    def draw_samples(self, images: Tensor, spec: Spec) -> Image.Image | None:
        alphabet = alphabet_in(spec.encoding)
        return None if alphabet is None else draw_lines(decode(images, alphabet))

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path, spec: Spec) -> Sequence[Path] | None:
        alphabet = alphabet_in(spec.encoding)
        if alphabet is None:
            return None
        paths = [folder / f"{name}.txt" for name in names]
        for path, line in zip(paths, decode(samples, alphabet), strict=True):
            path.write_text(f"{line}\n", encoding="utf-8")
        return paths

    @hookimpl
    def save_sample_file(self, samples: Tensor, path: Path, spec: Spec) -> Path | None:
        alphabet = alphabet_in(spec.encoding)
        if alphabet is None or path.suffix.lower() != ".txt":
            return None
        path.write_text("".join(f"{line}\n" for line in decode(samples, alphabet)), encoding="utf-8")
        return path


def text_dataset(lines: Sequence[str], alphabet: str, length: int, contents: str) -> Dataset:
    """Return a dataset of lines as one-hot sequences (V, T), with T = `length`. Its encoding is the alphabet."""
    size = len(alphabet) + 1

    def load() -> tuple[Tensor, None]:
        return to_one_hot(encode(lines, alphabet, length), size), None

    return Dataset((size, length), None, load, contents=contents, encoding={KEY: alphabet})


def draw_lines(lines: Sequence[str]) -> Image.Image:
    """Draw lines of text in columns of up to 32 lines, in Pillow's default font."""
    font = ImageFont.load_default(FONT_SIZE)
    columns = [lines[start : start + LINES_IN_COLUMN] for start in range(0, len(lines), LINES_IN_COLUMN)]
    widths = [int(max(font.getlength(line) for line in column)) + 3 * MARGIN for column in columns]
    height = min(len(lines), LINES_IN_COLUMN) * LINE_HEIGHT + 2 * MARGIN
    sheet = Image.new("L", (max(LINE_HEIGHT, sum(widths)), height), 255)
    pen = ImageDraw.Draw(sheet)
    for number, column in enumerate(columns):
        for row, line in enumerate(column):
            place = sum(widths[:number]) + MARGIN, MARGIN + row * LINE_HEIGHT
            pen.text(place, line, fill=30, font=font)
    return sheet
