"""Type of path settings in a recipe. Relative paths become absolute, so that a resumed run finds the files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

# A run stores absolute paths, because it may be resumed from another working directory. Symbolic links are not
# resolved, because their targets may move.
AbsolutePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.abspath(path.expanduser())))]
"""Path setting that is made absolute when the recipe is read. `~` is replaced by the home directory."""
