"""Grids of samples as they stand in a page: downsized, within the file, and not more than it can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gankit.errors import InputError
from gankit.images.gif import spread
from gankit.images.grid_metadata import group_by_z
from gankit.images.io import read_image
from gankit.report.run_record import RunRecord

MOST_PICTURES = 48
"""In a page, of all its runs together."""

MOST_MOMENTS = 24
"""That a slider goes through."""

LONGEST_SIDE = 560
"""Larger grids are made smaller, in pixels."""

MOST_BYTES = 4_000_000
"""Of all pictures of a page. Where they are more, there are fewer of them, and then they are smaller."""

LEAST = (
    (2, LONGEST_SIDE),
    (2, LONGEST_SIDE // 2),
    (1, LONGEST_SIDE // 2),
    (1, LONGEST_SIDE // 4),
    (1, LONGEST_SIDE // 8),
)
"""Moments and longest sides for pages of many runs, from large to small."""

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

    others: int
    """How many grids are left out because they show other z than the newest of their run."""

    same_z: bool | None
    """Whether all pictures show the same z in the same places; None where that is not on record."""


def strips_of(runs: Sequence[RunRecord]) -> Strips:
    """The grids of the runs, evenly spread over the iterations, as many and as large as the page can carry."""
    known = [group_by_z([run.grids[iteration] for iteration in sorted(run.grids)]) for run in runs]
    grids = [{int(path.stem): path for path in of.alike} for of in known]
    every = sorted({iteration for of in grids for iteration in of})
    damaged = dict.fromkeys(path for of in known for path in of.damaged)
    encoded: dict[tuple[Path, int], Picture] = {}
    for most, side in sizes(len(runs)):
        moments = spread(every, most) if most > 1 else every[-1:]
        pictures = [
            [p for p in (_kept(of[i], side, encoded, damaged) for i in shown_at(of, moments)) if p] for of in grids
        ]
        if sum(len(picture.data) for of in pictures for picture in of) <= MOST_BYTES:
            break
    z = [of.z for of in known if of.alike]
    same_z = None if None in z else len(set(z)) == 1
    return Strips(moments, pictures, list(damaged), sum(len(of.others) for of in known), same_z)


def sizes(runs: int) -> Iterator[tuple[int, int]]:
    """How many moments, and how long a side, to be tried one after the other: from all that a page of so many runs may
    carry down to one small picture of each."""
    most = min(MOST_MOMENTS, MOST_PICTURES // runs)
    while most > 2:
        yield most, LONGEST_SIDE
        most //= 2
    yield from LEAST


def shown_at(grids: Mapping[int, Path], moments: Sequence[int]) -> list[int]:
    """The iterations of the newest grids that are not later than some moments, each once."""
    newest = (max((i for i in grids if i <= moment), default=None) for moment in moments)
    return list(dict.fromkeys(iteration for iteration in newest if iteration is not None))


def _kept(path: Path, side: int, encoded: dict[tuple[Path, int], Picture], damaged: dict[Path, None]) -> Picture | None:
    """The picture of a grid, encoded once for each size; None, and noted, where it is damaged."""
    if (path, side) not in encoded and path not in damaged:
        try:
            encoded[path, side] = encode(int(path.stem), read_image(path), side)
        except InputError:
            damaged[path] = None
    return encoded.get((path, side))


def encode(iteration: int, drawn: Image.Image, side: int = LONGEST_SIDE) -> Picture:
    """As PNG what has few colours, as drawings have; as JPEG all else. Larger ones are brought down to that side."""
    share = min(1.0, side / max(drawn.size))
    size = (max(1, round(drawn.width * share)), max(1, round(drawn.height * share)))
    fitted = drawn.resize(size, Image.Resampling.LANCZOS) if share < 1 else drawn
    kind, buffer = "jpeg" if fitted.getcolors(FEW_COLOURS) is None else "png", io.BytesIO()
    fitted.save(buffer, format=kind, quality=QUALITY)
    return Picture(iteration, kind, buffer.getvalue(), *size)
