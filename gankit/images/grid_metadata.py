"""Which of a run's grids show the same z in the same places, as the grids themselves note. No torch is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gankit.errors import InputError
from gankit.images.io import read_note


@dataclass(frozen=True)
class Grids:
    """A run's grids, sorted by whether they can be compared place by place."""

    z: str | None
    """Equal for grids that show the same z in the same places; None where that is not on record."""

    alike: list[Path]
    """The newest, and all that show the same z as it, from early to late."""

    others: list[Path]
    damaged: list[Path]


def group_by_z(grids: Sequence[Path]) -> Grids:
    """Sorts grids, given from early to late. Those of other z are from before a resume that changed how many there are.

    Only the beginning of a file is read; what is damaged behind it comes out when it is drawn.
    """
    noted: dict[Path, str | None] = {}
    damaged = []
    for path in grids:
        try:
            noted[path] = read_note(path, "z")
        except InputError:
            damaged.append(path)
    z = noted[next(reversed(noted))] if noted else None
    alike = [path for path, of in noted.items() if of == z]
    return Grids(z, alike, [path for path, of in noted.items() if of != z], damaged)
