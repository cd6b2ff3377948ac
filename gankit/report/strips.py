"""Grids of samples as they stand in a page: downsized, within the file, and not more than it can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gankit.animation import spread
from gankit.errors import InputError
from gankit.picture_files import read_note, read_picture
from gankit.report.record import RunRecord

MOST_PICTURES = 48
"""In a page, of all its runs together."""

MOST_MOMENTS = 24
"""That a slider goes through."""

LONGEST_SIDE = 560
"""Larger grids are made smaller, in pixels."""

MOST_BYTES = 4_000_000
"""Of all pictures of a page. Where they are more, there are fewer of them."""

QUALITY = 85
"""Of JPEG, up to 100."""

FEW_COLOURS = 64


@dataclass(frozen=True)
class Picture:
    """A grid, encoded, with its size in pixels."""

    iteration: int
    kind: str
    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Strips:
    """The grids of every run at the same moments."""

    moments: list[int]
    """Iterations; of each run, the newest grid that is not later is shown."""

    pictures: list[list[Picture]]
    """Of each run, from early to late."""

    damaged: list[Path]
    """Files that could not be read."""


def strips_of(runs: Sequence[RunRecord]) -> Strips:
    """The grids of the runs, evenly spread over the iterations, as many as the page can carry."""
    every = sorted({iteration for run in runs for iteration in run.grids})
    most, damaged = min(MOST_MOMENTS, max(2, MOST_PICTURES // len(runs))), dict[Path, None]()
    encoded: dict[Path, Picture] = {}
    while True:
        moments = spread(every, most)
        chosen = [shown_at(run, moments) for run in runs]
        pictures = [
            [p for p in (_kept(iteration, run.grids[iteration], encoded, damaged) for iteration in iterations) if p]
            for run, iterations in zip(runs, chosen, strict=True)
        ]
        if most == 2 or sum(len(picture.data) for of in pictures for picture in of) <= MOST_BYTES:
            return Strips(moments, pictures, list(damaged))
        most = max(2, most // 2)


def shown_at(run: RunRecord, moments: Sequence[int]) -> list[int]:
    """The iterations of the newest grids that are not later than some moments, each once."""
    newest = (max((i for i in run.grids if i <= moment), default=None) for moment in moments)
    return list(dict.fromkeys(iteration for iteration in newest if iteration is not None))


def _kept(iteration: int, path: Path, encoded: dict[Path, Picture], damaged: dict[Path, None]) -> Picture | None:
    """The picture of a grid, encoded once; None, and noted, where it is damaged."""
    if path not in encoded and path not in damaged:
        try:
            encoded[path] = encode(iteration, read_picture(path))
        except InputError:
            damaged[path] = None
    return encoded.get(path)


def encode(iteration: int, drawn: Image.Image) -> Picture:
    """As PNG what has few colours, as drawings have; as JPEG all else."""
    share = min(1.0, LONGEST_SIDE / max(drawn.size))
    size = (max(1, round(drawn.width * share)), max(1, round(drawn.height * share)))
    fitted = drawn.resize(size, Image.Resampling.LANCZOS) if share < 1 else drawn
    kind, buffer = "jpeg" if fitted.getcolors(FEW_COLOURS) is None else "png", io.BytesIO()
    fitted.save(buffer, format=kind, quality=QUALITY)
    return Picture(iteration, kind, buffer.getvalue(), *size)


def same_z(runs: Sequence[RunRecord]) -> bool | None:
    """Whether the runs' newest grids show the same z in the same places; None where that is not on record."""
    notes = [_noted_z(run) for run in runs if run.grids]
    return None if None in notes else len(set(notes)) == 1


def _noted_z(run: RunRecord) -> str | None:
    try:
        return read_note(run.grids[max(run.grids)], "z")
    except InputError:
        return None
