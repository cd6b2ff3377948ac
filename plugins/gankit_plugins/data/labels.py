"""Files with the class or the attributes of each image: `labels.csv`, `labels.json`, and StyleGAN's `dataset.json`."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gankit import InputError, VectorCondition
from gankit_plugins.data.folder import Tree

MAX_WORDS = 100
"""Maximum number of categories of an attribute whose values are words.

Such an attribute is one-hot encoded: each category is one component of the condition vector.
"""

NO_CLASSES = "set `classes = false` for images without classes"

ClassNames = Annotated[
    tuple[str, ...] | None,
    Field(
        description="names of the classes 0, 1, ...; default: the names in the data, or the sorted values of the labels"
    ),
]
"""Type of the setting `class_names`."""

Label = str | dict[str, str]
"""Class name of an image, or its attributes by name. The value of an attribute is a number or a word."""


class Labels(NamedTuple):
    """Class or attributes of each image file."""

    file: str
    """Name of the file with the labels, without its folder."""

    by_image: dict[str, Label]
    """Label of each image file, by its path.

    Empty if the label file contains no labels. Either all labels are class names, or all are attributes.
    """


def find_labels(files: Tree, outer: str, path: Path) -> Labels | None:
    """Search for a file with labels, such as `labels.csv`, and return its labels. Return None if there is no such file.

    The file is in the top folder or in a folder that contains all images.

    Args:
        files: files in a folder or a zip file.
        outer: path of the folder that contains all images, with a slash at the end. "" means the top folder.
        path: path of the folder or zip file, for messages.

    Raises:
        InputError: there are two files with labels, or a file cannot be read as labels.
    """
    found = {
        (prefix, name): content
        for prefix in places_of(outer)
        for name in READERS
        if (content := files.read(prefix + name)) is not None
    }
    if len(found) > 1:
        names = " and ".join(prefix + name for prefix, name in found)
        raise InputError(f"path: {path}: {names} both have labels; remove one of them, or {NO_CLASSES}")
    for (prefix, name), content in found.items():
        source = f"path: {path}: {prefix}{name}"
        by_image = READERS[name](content, source)
        if not by_image and name != STYLEGAN:
            raise InputError(f"{source} has no labels; add them, or {NO_CLASSES}")
        return Labels(name, {prefix + normal_path(file): label for file, label in by_image.items()})
    return None


def places_of(outer: str) -> list[str]:
    """Return the paths of the folders from the top folder, "", to the folder `outer`. They end in a slash."""
    parts = outer.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)]


def normal_path(file: str) -> str:
    """Return a file path with forward slashes and without a leading `./`."""
    return file.replace("\\", "/").removeprefix("./")


def read_csv(content: bytes, source: str) -> dict[str, Label]:
    """Return the labels in a CSV file with the column `file`.

    If `class` is the only other column, it contains the classes. Otherwise, the other columns are attributes.

    Raises:
        InputError: the first row is invalid, a row is incomplete, an image has two different labels, or the only
            attribute has values that are not numbers.
    """
    first_row = "file,class, or file and a different name for each attribute"
    labels: dict[str, Label] = {}
    for number, file, cells in csv_cells(content, source, first_row, NO_CLASSES):
        label: Label = cells["class"] if [*cells] == ["class"] else cells
        if labels.get(file, label) != label:
            raise InputError(f"{source}, row {number}: {file} has the labels {labels[file]} and {label}; keep one")
        labels[file] = label
    for cells in _cells(labels):
        name, *others = cells
        if not others and _number(cells[name]) is None:
            raise InputError(f"{source}: the column {name!r} has words; if they are classes, call it class")
    return labels


def csv_cells(
    content: bytes, source: str, first_row: str, otherwise: str, only: str | None = None
) -> list[tuple[int, str, dict[str, str]]]:
    """Return the rows of a CSV file: the number of the row, the file of the image, and the other cells by column.

    Args:
        content: content of the CSV file, which has the column `file`.
        source: key and path of the CSV file, for messages.
        first_row: description of a valid first row, for messages.
        otherwise: alternative to a correction of the file, for messages.
        only: name of the only other column, or None if the other columns may have any names.

    Raises:
        InputError: the content is not CSV, the first row is invalid, or a row is incomplete.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{source} is not CSV in UTF-8; correct it, or {otherwise}") from None
    head = [name.strip() for name in rows[0]] if rows else []
    names = [name for name in head if name != "file"]
    different = len(set(names)) == len(names) and all(names)
    if head.count("file") != 1 or not names or not different or (only and names != [only]):
        raise InputError(f"{source} begins with {', '.join(head) or 'nothing'}; its first row must be: {first_row}")
    cells = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(head) or not all(cell.strip() for cell in row):
            raise InputError(f"{source}, row {number}: {','.join(row)!r} needs a value for each of {', '.join(head)}")
        by_column = dict(zip(head, (cell.strip() for cell in row), strict=True))
        cells.append((number, by_column.pop("file"), by_column))
    return cells


def _cells(labels: Mapping[str, Label]) -> Iterator[dict[str, str]]:
    return (label for label in labels.values() if isinstance(label, dict))


def read_json(content: bytes, source: str) -> dict[str, Label]:
    """Return the labels in a JSON file.

    The file contains either classes, `{"FILE": "CLASS", ...}`, or attributes, `{"FILE": {"age": 30}, ...}`. A class may
    also be an integer.

    Raises:
        InputError: the file has another format, or the images do not all have the same attribute names.
    """
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if isinstance(found, dict) and all(type(label) in (str, int) for label in found.values()):
        return {file: str(label) for file, label in found.items()}
    if not isinstance(found, dict) or not all(_is_attributes(label) for label in found.values()):
        raise InputError(
            f'{source} cannot be read as labels, {{"FILE": "CLASS", ...}} or {{"FILE": {{"NAME": NUMBER}}, ...}}; '
            f"correct it, or {NO_CLASSES}"
        )
    first = next(iter(found))
    for file, attributes in found.items():
        if set(attributes) != set(found[first]):
            raise InputError(f"{source}: {first} and {file} have different attributes; give all images the same")
    return {
        file: {name: str(int(value) if isinstance(value, bool) else value) for name, value in attributes.items()}
        for file, attributes in found.items()
    }


def _is_attributes(label: Any) -> bool:
    return isinstance(label, dict) and bool(label) and all(isinstance(v, str | int | float) for v in label.values())


def vectors_of(by_image: Mapping[str, Mapping[str, str]], source: str) -> tuple[VectorCondition, Tensor]:
    """Convert attributes to a vector condition of K numbers. Return the condition and the numbers (N, K) of the images.

    The rows of the numbers are in the order of `by_image`. The smallest and the largest value of a numeric attribute
    become -1 and 1. An attribute with words becomes one number for each word, with the name `NAME=WORD`. This number is
    1 if the image has the word, and -1 if it does not.

    Raises:
        InputError: an attribute has both numbers and words, has too many words, or has a name that contains `=`.
    """
    names: list[str] = []
    ranges: list[tuple[float, float]] = []
    columns: list[Tensor] = []
    for attribute in next(iter(by_image.values())):
        if "=" in attribute:
            raise InputError(f"{source} has the attribute {attribute!r}; rename it, without '='")
        texts = [attributes[attribute] for attributes in by_image.values()]
        numbers = [_number(text) for text in texts]
        words = sorted({text for text, number in zip(texts, numbers, strict=True) if number is None}, key=natural_order)
        if words and len(words) < len(set(texts)):
            raise InputError(
                f"{source}: the attribute {attribute!r} has numbers, and the word {words[0]!r}; give only numbers, or "
                "only words"
            )
        if len(words) > MAX_WORDS:
            raise InputError(
                f"{source}: the attribute {attribute!r} has {len(words)} different words; at most {MAX_WORDS} are "
                "possible; remove it"
            )
        if not words:
            column = torch.tensor(numbers, dtype=torch.float64)
            low, high = column.min().item(), column.max().item()
            margin = 0 if low < high else max(1, 1e-6 * abs(low))
            names.append(attribute)
            ranges.append((low - margin, high + margin))
            columns.append(column)
        else:
            index = {word: number for number, word in enumerate(words)}
            one_hot = torch.nn.functional.one_hot(torch.tensor([index[text] for text in texts]), len(words))
            names += [f"{attribute}={word}" for word in words]
            ranges += [(0, 1)] * len(words)
            columns += one_hot.double().unbind(1)
    condition = VectorCondition(tuple(names), tuple(ranges))
    return condition, condition.scaled(torch.stack(columns, 1))


def _number(text: str) -> float | None:
    """Convert a text to a finite number. Return None if this is not possible."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number_classes(
    values: Sequence[int | str], class_names: tuple[str, ...] | None, source: str
) -> tuple[tuple[str, ...], Tensor]:
    """Return the class names, and a label for each value, (N,) int64.

    Args:
        values: class of each image: its number, or its name.
        class_names: names of the classes 0, 1, .... The values must then be class numbers. None if the values are the
            names, in natural order.
        source: key and place of the values, for messages.

    Raises:
        InputError: `class_names` is given, and a value is not the number of a class.
    """
    texts = [str(value) for value in values]
    # `natural_order` ignores the sign of a number.
    order = int if all(re.fullmatch(r"-?[0-9]{1,18}", text) for text in texts) else natural_order
    names = tuple(sorted(set(texts), key=order)) if class_names is None else class_names
    index = {name: number for number, name in enumerate(names if class_names is None else map(str, range(len(names))))}
    if unknown := next((text for text in texts if text not in index), None):
        raise InputError(
            f"{source} has the label {unknown!r}, and data.class_names has names for the labels 0 to {len(names) - 1}; "
            "give a name for each label"
        )
    return names, torch.tensor([index[text] for text in texts])


def natural_order(name: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """Return a sort key for a name. The key orders the numbers in names by value: `class2` before `class10`."""
    pairs = re.findall(r"([^0-9]*)([0-9]*)", name)
    return tuple((text, int(digits or -1)) for text, digits in pairs), name


def read_stylegan(content: bytes, source: str) -> dict[str, Label]:
    """Return the class number of each image in StyleGAN's `dataset.json`. Labels are class numbers or one-hot vectors.

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
    """Return the class number of a label. The label is a class number or a one-hot vector."""
    if isinstance(label, int) and label >= 0:
        return int(label)
    if isinstance(label, list) and (label.count(0), label.count(1)) == (len(label) - 1, 1):
        return label.index(1)
    raise InputError(
        f"{source} has the label {label!r}; labels are class numbers from 0 or one-hot vectors. Correct it, or "
        f"{NO_CLASSES}"
    )


STYLEGAN = "dataset.json"

READERS: dict[str, Callable[[bytes, str], dict[str, Label]]] = {
    "labels.csv": read_csv,
    "labels.json": read_json,
    STYLEGAN: read_stylegan,
}
"""Functions that read files with labels, by file name. The second argument is the path of the file, for messages."""
