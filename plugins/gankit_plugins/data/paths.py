"""Paths in recipes, as a resumed run must find them again."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(path: Path) -> Path:
    """With ~ replaced and, if relative, seen from the current folder.

    A run keeps its resolved recipe, and may be resumed from another folder. Links are kept: what they point to may
    be moved.
    """
    return Path(os.path.abspath(path.expanduser()))
