"""Absolute paths in recipes, so that a resumed run finds them."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(path: Path) -> Path:
    """Return a path with ~ expanded, relative to the current folder.

    A run stores its resolved recipe, and may be resumed from another folder. Links are not resolved, because their
    targets may move.
    """
    return Path(os.path.abspath(path.expanduser()))
