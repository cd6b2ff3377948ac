"""Files with the class of each image: `labels.csv`, `labels.json`, and `dataset.json` of StyleGAN."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gankit import InputError
from gankit_plugins.data.folder import Folder, Zip

NO_CLASSES = "set `classes = false` for images without classes"


class Labels(NamedTuple):
    """Class of each image file."""

    file: str
    """Name of the file with the labels, without its folder."""

    classes: dict[str, str]
    """Class name of each image file, by its path. Empty if the file has no labels."""


def find_labels(files: Folder | Zip, outer: str, path: Path) -> Labels | None:
    """Return the classes of the image files, from a file with labels, or None if there is no such file.

    The file is in the top folder or in a folder that contains all images.

    Args:
        files: files in a folder or a zip file.
        outer: folder that contains all images. It is empty or ends in a slash.
        path: path of the folder or zip file, for messages.

    Raises:
        InputError: there are two files with labels, or a file cannot be read as labels.
    """
    parts = outer.split("/")[:-1]
    prefixes = ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)]
    found = {
        (prefix, name): content
        for prefix in prefixes
        for name in READERS
        if (content := files.read(prefix + name)) is not None
    }
    if len(found) > 1:
        names = " and ".join(prefix + name for prefix, name in found)
        raise InputError(f"path: {path}: {names} both have labels; remove one of them, or {NO_CLASSES}")
    for (prefix, name), content in found.items():
        source = f"path: {path}: {prefix}{name}"
        classes = READERS[name](content, source)
        return Labels(name, {prefix + file.replace("\\", "/"): label for file, label in classes.items()})
    return None


def read_csv(content: bytes, source: str) -> dict[str, str]:
    """Return the classes in a CSV file with the columns `file` and `class`.

    Raises:
        InputError: the file has other columns, a row is incomplete, or an image has two classes.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{source} is not CSV in UTF-8; correct it, or {NO_CLASSES}") from None
    head = [name.strip() for name in rows[0]] if rows else []
    if sorted(head) != ["class", "file"]:
        raise InputError(f"{source} begins with {', '.join(head) or 'nothing'}; its first row must be: file,class")
    classes: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(head) or not all(cell.strip() for cell in row):
            raise InputError(f"{source}, row {number}: {','.join(row)!r} is not a file and a class; correct it")
        file, label = (row[head.index(name)].strip() for name in ("file", "class"))
        if classes.get(file, label) != label:
            raise InputError(f"{source}, row {number}: {file} has the classes {classes[file]} and {label}; keep one")
        classes[file] = label
    return classes


def read_json(content: bytes, source: str) -> dict[str, str]:
    """Return the classes in a JSON file with an object `{"FILE": "CLASS", ...}`. A class may also be a whole number.

    Raises:
        InputError: the file has another content.
    """
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(type(label) in (str, int) for label in found.values()):
        raise InputError(f'{source} cannot be read as labels, {{"FILE": "CLASS", ...}}; correct it, or {NO_CLASSES}')
    return {file: str(label) for file, label in found.items()}


def read_stylegan(content: bytes, source: str) -> dict[str, str]:
    """Return the class numbers in `dataset.json` of StyleGAN. The labels are class numbers or one-hot vectors.

    Raises:
        InputError: the file does not have the format of StyleGAN's dataset tool, or a label is neither a class number
            nor a one-hot vector.
    """
    try:
        labels = json.loads(content)["labels"]
        pairs = labels.items() if isinstance(labels, dict) else labels or ()
        by_file = {str(name): label for name, label in pairs}
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{source} cannot be read as labels of StyleGAN, {{"labels": [["FILE", NUMBER], ...]}}; correct it, or '
            f"{NO_CLASSES}"
        ) from None
    return {file: str(_class_number(label, source)) for file, label in by_file.items()}


def _class_number(label: Any, source: str) -> int:
    """Return the class number of a label, which is a class number or a one-hot vector."""
    if isinstance(label, int) and label >= 0:
        return int(label)
    if isinstance(label, list) and (label.count(0), label.count(1)) == (len(label) - 1, 1):
        return label.index(1)
    raise InputError(
        f"{source} has the label {label!r}; labels are class numbers from 0 or one-hot vectors. Correct it, or "
        f"{NO_CLASSES}"
    )


STYLEGAN = "dataset.json"

READERS: dict[str, Callable[[bytes, str], dict[str, str]]] = {
    "labels.csv": read_csv,
    "labels.json": read_json,
    STYLEGAN: read_stylegan,
}
"""Names of files with labels, and the function that reads each. Its second argument is its path, for messages."""
