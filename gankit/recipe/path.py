"""Type of path settings, and functions that store the base folder of each relative path in a recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo


class LocatedText(str):
    """String from a recipe file. If the string is a relative path, `folder` is the base folder of this path."""

    folder: Path

    @classmethod
    def of(cls, text: str, folder: Path) -> LocatedText:
        """Return `text` as a `LocatedText` with the given base folder."""
        located = cls(text)
        located.folder = folder
        return located


def locate(value: Any, folder: Path) -> Any:
    """Convert each string in a value of a recipe to a `LocatedText` with the base folder `folder`.

    Strings in nested dictionaries and lists are also converted.
    """
    if isinstance(value, dict):
        return {key: locate(one, folder) for key, one in value.items()}
    if isinstance(value, list):
        return [locate(one, folder) for one in value]
    if isinstance(value, str) and not isinstance(value, LocatedText):
        return LocatedText.of(value, folder)
    return value


def folders_of(settings: dict[str, Any]) -> dict[tuple[str, str], Path]:
    """Return the base folder of each `LocatedText` in a plugin's settings, as a dictionary with keys (setting, text).

    `absolute_path` looks up the folder of a path by pydantic's `info.field_name` and the text. For a path in a nested
    model, this name is the inner setting. For a path in a dictionary, it is the outer setting. The raw settings do not
    show which of the two applies. Therefore, each text is stored under the names of all settings that contain it.
    """

    def located(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], Path]]:
        if isinstance(value, dict):
            for key, one in value.items():
                yield from located(one, (*keys, key))
        elif isinstance(value, list):
            for one in value:
                yield from located(one, keys)
        elif isinstance(value, LocatedText):
            for key in keys:
                yield (key, str(value)), value.folder

    return dict(located(settings, ()))


def absolute_path(value: Any, info: ValidationInfo) -> Any:
    """Return a path setting as an absolute path. `~` is replaced by the home folder. Symbolic links are not resolved.

    `info.context` is the dict of base folders that `folders_of` returns. If it contains no folder for a path, the path
    is relative to the current folder.
    """
    if not isinstance(value, (str, Path)):
        return value
    return below(value, (info.context or {}).get((info.field_name, str(value)), Path()))


def below(path: str | Path, folder: Path) -> str:
    """Return the absolute form of `path`, which may be relative to `folder` or begin with `~`.

    Raises:
        ValueError: the home folder does not exist.
    """
    try:
        return os.path.abspath(folder / Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{path}: there is no such home folder") from None


RecipePath = Annotated[Path, BeforeValidator(absolute_path)]
"""Type of a path setting of a plugin.

In a recipe file, a relative path is relative to the folder of this file. On the command line, a relative path is
relative to the current folder. A run stores absolute paths, so a resumed run finds the file from any folder. A field
with a relative default needs `validate_default=True`; the default is then relative to the current folder.
"""
