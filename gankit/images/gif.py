"""Writing of animated GIFs, for example from the image grids of a run.

The frames are written one at a time, because Pillow would keep all frames in memory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from gankit.images.io import read_image
from gankit.storage.atomic_io import write_parts

T = TypeVar("T")

MOST_FRAMES = 300
"""Maximum number of frames in an animation. If a run has more grids, the animation shows evenly spaced grids."""

MAX_SIDE = 800
"""Maximum width and height of a grid in the animation, in pixels. Larger grids are downsized."""

MIN_WIDTH = 120
"""Minimum width of a frame, in pixels, so that every caption fits."""

DURATION = 8.0
"""Intended time in seconds from the first to the last frame.

The actual time differs if each frame would otherwise be shorter than `SHORTEST` or longer than `LONGEST`.
"""

SHORTEST, LONGEST, LAST = 0.04, 0.5, 3.0
"""Durations in seconds: minimum and maximum for each frame before the last frame, and duration of the last frame."""

PAPER, INK = "#ffffff", "#282828"

COLOURS = 256
"""Maximum number of colours of a GIF frame."""

HAS_TABLE, TABLE_SIZE = 0x80, 0x07
"""Bit masks for GIF descriptors: the colour table flag, and the field `size` of the colour table.

The table has 2^(1 + size) colours.
"""


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` evenly spaced items, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def durations(frames: int) -> list[float]:
    """Return the duration in seconds of each frame of an animation with `frames` frames. The last frame is longer."""
    each = min(LONGEST, max(SHORTEST, DURATION / frames))
    return [each] * (frames - 1) + [LAST]


def captioned(image: Image.Image, caption: str) -> Image.Image:
    """Return an image with a caption below it. An image larger than `MAX_SIDE` is downsized."""
    scale = min(1.0, MAX_SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    size = max(11, min(18, width // 24))
    font, strip = ImageFont.load_default(size), 2 * size
    sheet = Image.new(image.mode, (max(width, MIN_WIDTH), height + strip), PAPER)
    sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else image, (0, 0))
    ImageDraw.Draw(sheet).text((6, height + strip / 2), caption, fill=INK, font=font, anchor="lm")
    return sheet


def grid_frames(grids: Iterable[Path]) -> Iterator[Image.Image]:
    """Yield each image grid with its iteration as a caption. A file is read only when its frame is needed."""
    for path in grids:
        yield captioned(read_image(path), f"iteration {int(path.stem)}")


def gif(frames: Iterable[Image.Image], seconds: Iterable[float]) -> Iterator[bytes]:
    """Yield the bytes of an animated GIF, in several parts. The animation loops forever.

    The bytes of a frame are yielded before the next frame is read. Grey frames are stored exactly. Each colour frame is
    reduced to 256 colours.

    Args:
        frames: grey or colour images of equal size.
        seconds: duration of each frame, in seconds.
    """
    started = False
    for frame, duration in zip(frames, seconds, strict=True):
        if not started:
            yield b"GIF89a" + struct.pack("<HHBBB", *frame.size, 0, 0, 0)
            yield b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
            started = True
        yield b"\x21\xf9\x04" + struct.pack("<BHBB", 0, round(duration * 100), 0, 0)
        yield _image_block(frame)
    yield b"\x3b"


def write_gif(path: Path, frames: Sequence[Image.Image], fps: float) -> None:
    """Write an animated GIF that loops forever. An existing file is replaced only when the new file is complete.

    Args:
        path: file to write.
        frames: grey or colour images of equal size.
        fps: frames per second. A GIF stores the duration of a frame in hundredths of a second.
    """
    write_parts(path, gif(frames, [1 / fps] * len(frames)))


def _image_block(frame: Image.Image) -> bytes:
    """Return the bytes of one GIF frame: an image descriptor, a local colour table and the compressed pixels."""
    # Octree quantisation keeps colours that occur in only a few pixels. Median cut, Pillow's default, loses them.
    indexed = frame if frame.mode == "L" else frame.quantize(COLOURS, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    # Pillow writes a complete GIF of this frame. The code below copies the colour table and the pixels from this GIF.
    indexed.save(buffer, format="GIF", optimize=False, interlace=False)
    whole = buffer.getvalue()
    screen = whole[10]
    assert screen & HAS_TABLE, "Pillow writes one colour table for a single frame"
    end = 13 + 3 * 2 ** (1 + (screen & TABLE_SIZE))
    table, at = whole[13:end], end
    # Skip GIF extensions. An extension consists of two bytes, blocks that begin with their length, and an empty block.
    while whole[at] == 0x21:
        at += 2
        while whole[at]:
            at += 1 + whole[at]
        at += 1
    descriptor, pixels = whole[at : at + 10], whole[at + 10 : -1]
    assert descriptor[0] == 0x2C
    return descriptor[:9] + bytes([HAS_TABLE | (screen & TABLE_SIZE)]) + table + pixels
