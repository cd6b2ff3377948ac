"""Functions that the plugins of standard datasets share. They find default folders and check names in settings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from gankit import InputError
from gankit_plugins.data.listing import shortened

CACHE = Path("~/.cache/gankit")
VARIABLE = "GANKIT_DATA"


def data_folders(name: str, *others: str) -> list[Path]:
    """Return the default folders of a dataset: in $GANKIT_DATA, if it is set, and in ~/.cache/gankit.

    Args:
        name: name of the folder, which is the name of the plugin.
        others: further folders in $GANKIT_DATA.
    """
    shared = os.environ.get(VARIABLE)
    return [*(Path(shared, folder) for folder in (name, *others) if shared), CACHE.expanduser() / name]


def data_path(path: Path | None, name: str, source: str) -> Path:
    """Return the path of a dataset: the setting `path`, or the first existing default folder if the setting is None.

    Args:
        path: the setting, or None.
        name: name of the plugin, which is also the name of its default folders.
        source: text with the address of the dataset, for the error message.

    Raises:
        InputError: the given path does not exist, or there is no default folder.
    """
    paths = data_folders(name) if path is None else [path]
    found = next((one for one in paths if one.exists()), None)
    if found is None:
        remedy = f"set data.path, or the variable {VARIABLE} to the parent of a folder {name}; "
        raise InputError(
            f"path: {' and '.join(map(str, paths))} {'does' if len(paths) == 1 else 'do'} not exist; "
            f"{remedy if path is None else ''}{source}"
        )
    return found


def once_each(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names in a setting unchanged. Raise ValueError if there are duplicates."""
    if names is not None and len(set(names)) < len(names):
        raise ValueError("each name may be listed once")
    return names


def check_known(key: str, names: Iterable[str], known: Iterable[str], place: Path) -> None:
    """Check that all names in the setting `key` exist in the file or folder `place`.

    Raises:
        InputError: a name is unknown.
    """
    known = list(known)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"{key}: {name!r} is not in {place}; {hint}there are {shortened(known)}")
