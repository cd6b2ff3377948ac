"""Groups of grids with the same z, from the metadata of the grids. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gankit.errors import InputError
from gankit.images.io import read_note


@dataclass(frozen=True)
class Grids:
    """Grids of a run, grouped by their z. Grids with the same z can be compared image by image."""

    z: str | None
    """Hash of the z of the newest grid, or None if the grid does not record it."""

    alike: list[Path]
    """Grids with the same z as the newest one, oldest first."""

    others: list[Path]
    """Grids with another z, from before a resume that changed the number of samples."""

    damaged: list[Path]


def group_by_z(grids: Sequence[Path]) -> Grids:
    """Group grids, given oldest first. Only the start of each file is read, so damage after it is not detected."""
    hashes: dict[Path, str | None] = {}
    damaged = []
    for path in grids:
        try:
            hashes[path] = read_note(path, "z")
        except InputError:
            damaged.append(path)
    z = hashes[next(reversed(hashes))] if hashes else None
    alike = [path for path, hash in hashes.items() if hash == z]
    return Grids(z, alike, [path for path, hash in hashes.items() if hash != z], damaged)
