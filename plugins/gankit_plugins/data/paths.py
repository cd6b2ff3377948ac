"""Absolute paths in recipes, so that a resumed run finds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

# A run stores its resolved recipe, and may be resumed from another folder. Links are not resolved, because their
# targets may move.
AbsolutePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.abspath(path.expanduser())))]
"""Path that becomes absolute, with ~ expanded."""
