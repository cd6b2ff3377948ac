"""Grouping of image grids by the latent vectors z of their samples. This module does not import torch.

The PNG metadata of a grid contains a hash of its z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gankit.errors import InputError
from gankit.images.io import read_note


@dataclass(frozen=True)
class Grids:
    """Image grids of a run, grouped by their latent vectors z. Grids with the same z can be compared image by image."""

    z: str | None
    """Hash of the z of the newest undamaged grid, or None if its metadata has no such hash."""

    same_z: list[Path]
    """Grids with the same z as the newest undamaged grid, oldest first."""

    others: list[Path]
    """Grids with another z, oldest first. z changes if a run is resumed with another number of samples."""

    damaged: list[Path]


def group_by_z(grids: Sequence[Path]) -> Grids:
    """Group image grids by their z. The paths must be sorted from the oldest to the newest grid.

    Only the start of each file is read, so damage in the rest of the file is not detected.
    """
    hashes: dict[Path, str | None] = {}
    damaged = []
    for path in grids:
        try:
            hashes[path] = read_note(path, "z")
        except InputError:
            damaged.append(path)
    z = hashes[next(reversed(hashes))] if hashes else None
    same_z = [path for path, hash in hashes.items() if hash == z]
    return Grids(z, same_z, [path for path, hash in hashes.items() if hash != z], damaged)
