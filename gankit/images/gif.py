"""A run's grids of samples, one after the other, as an animated GIF.

The file is put together here, frame by frame as frames come: Pillow would hold all of them at once.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from gankit.images.io import read_image

T = TypeVar("T")

MOST_FRAMES = 300
"""Of more grids, so many are shown, evenly spread."""

LONGEST_SIDE = 800
"""Larger grids are made smaller, in pixels."""

NARROWEST = 120
"""Room for the words under the smallest of grids, so that all frames are of one width."""

PASS = 8.0
"""Seconds that it takes from the first frame to the last, while a frame's time stays within the next two bounds."""

QUICKEST, SLOWEST, LAST = 0.04, 0.5, 3.0
"""Seconds that a frame is seen, and that the last one is."""

PAPER, INK = "#ffffff", "#282828"

COLOURS = 256
"""In a GIF's frame, at most."""

HAS_TABLE, TABLE_SIZE = 0x80, 0x07
"""Bits of a GIF's descriptors: a colour table follows, of 2^(1 + size) colours."""


def spread(items: Sequence[T], most: int) -> list[T]:
    """Of many items `most`, evenly spread, the first and the last among them; of fewer, all."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def durations(frames: int) -> list[float]:
    """Seconds that each frame is seen: the last one longer, to be looked at."""
    each = min(SLOWEST, max(QUICKEST, PASS / frames))
    return [each] * (frames - 1) + [LAST]


def captioned(drawn: Image.Image, words: str) -> Image.Image:
    """A picture, no larger than fits `LONGEST_SIDE`, with words under it."""
    share = min(1.0, LONGEST_SIDE / max(drawn.size))
    width, height = (max(1, round(side * share)) for side in drawn.size)
    size = max(11, min(18, width // 24))
    font, strip = ImageFont.load_default(size), 2 * size
    sheet = Image.new(drawn.mode, (max(width, NARROWEST), height + strip), PAPER)
    sheet.paste(drawn.resize((width, height), Image.Resampling.LANCZOS) if share < 1 else drawn, (0, 0))
    ImageDraw.Draw(sheet).text((6, height + strip / 2), words, fill=INK, font=font, anchor="lm")
    return sheet


def grid_frames(grids: Iterable[Path]) -> Iterator[Image.Image]:
    """Each grid with its iteration under it, read when it is asked for.

    Raises InputError at one that is damaged.
    """
    for path in grids:
        yield captioned(read_image(path), f"iteration {int(path.stem)}")


def gif(frames: Iterable[Image.Image], seconds: Iterable[float]) -> Iterator[bytes]:
    """The parts of an animated GIF that repeats for ever; a part is asked for before the next frame is.

    Grey is kept as it is; the colours of each frame are brought down to the 256 that suit it best.

    Args:
        frames: in grey or colour, of one size.
        seconds: how long each of them is seen.
    """
    began = False
    for frame, seen in zip(frames, seconds, strict=True):
        if not began:
            yield b"GIF89a" + struct.pack("<HHBBB", *frame.size, 0, 0, 0)
            yield b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
            began = True
        yield b"\x21\xf9\x04" + struct.pack("<BHBB", 0, round(seen * 100), 0, 0)
        yield _image_block(frame)
    yield b"\x3b"


def _image_block(frame: Image.Image) -> bytes:
    """A frame as it stands within a GIF: a descriptor, a colour table of its own, and its pixels.

    Pillow compresses it, as a GIF of one frame, of which this is the inside.
    """
    # By an octree, which keeps the hues that few pixels have; the median cut gives them away.
    indexed = frame if frame.mode == "L" else frame.quantize(COLOURS, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    indexed.save(buffer, format="GIF", optimize=False, interlace=False)
    whole = buffer.getvalue()
    screen = whole[10]
    assert screen & HAS_TABLE, "Pillow writes one table for a single frame"
    end = 13 + 3 * 2 ** (1 + (screen & TABLE_SIZE))
    table, at = whole[13:end], end
    while whole[at] == 0x21:  # extensions: two bytes, then blocks that say their length, up to an empty one
        at += 2
        while whole[at]:
            at += 1 + whole[at]
        at += 1
    descriptor, pixels = whole[at : at + 10], whole[at + 10 : -1]
    assert descriptor[0] == 0x2C
    return descriptor[:9] + bytes([HAS_TABLE | (screen & TABLE_SIZE)]) + table + pixels
