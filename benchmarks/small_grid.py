"""Grids of samples for the pages."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gankit.storage.run_dir import RunDir

WIDEST = 420
"""Greatest width of an image on a page, in pixels."""


def save_small_grid(run: Path, to: Path) -> None:
    """Write the newest grid of a run, small enough for a page."""
    newest = RunDir.open(run).newest_grid()
    assert newest is not None
    with Image.open(newest) as grid:
        share = min(1.0, WIDEST / grid.width)
        small = grid.resize((round(grid.width * share), round(grid.height * share)), Image.Resampling.LANCZOS)
    to.parent.mkdir(parents=True, exist_ok=True)
    small.save(to, optimize=True)
