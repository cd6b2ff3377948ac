"""Captions of images: `captions.csv`, or a text file beside each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit import InputError, TokenCondition
from gankit_plugins.data.folder import Tree
from gankit_plugins.data.labels import csv_cells, normal_path, places_of

FILE = "captions.csv"

NO_CAPTIONS = "remove data.captions for images without captions"

FIELD = "captions"
"""Name of the field of the dataset with all captions of each image."""


class Captions(NamedTuple):
    """Captions of N images, with at most M captions for each image, as tokens."""

    condition: TokenCondition
    tokens: Tensor
    """Token indices, (N, M, T) int64. The captions of an image with fewer than M captions are repeated."""


def find_captions(
    files: Tree, names: Iterable[str], outer: str, path: Path
) -> tuple[dict[str, list[str]], Counter[str]]:
    """Return the captions of each image by the path of its file, and the number of files with captions by extension.

    They are in `captions.csv`, with the columns `file` and `caption`, and one row for each caption. Without this file,
    the captions of `NAME.png` are the lines of `NAME.txt` in the same folder.

    Args:
        files: files in a folder or a zip file.
        names: paths of the image files.
        outer: path of the folder that contains all images, with a slash at the end. "" means the top folder.
        path: path of the folder or zip file, for messages.

    Raises:
        InputError: an image has no caption, or a file cannot be read.
    """
    for prefix in places_of(outer):
        if (content := files.read(prefix + FILE)) is not None:
            table = read_table(content, f"path: {path}: {prefix}{FILE}")
            known = {prefix + file: captions for file, captions in table.items()}
            found, read = {name: known.get(name, []) for name in names}, Counter({".csv": 1})
            break
    else:
        found = {name: read_lines(files, f"{name.rpartition('.')[0]}.txt", path) for name in names}
        read = Counter({".txt": len({name.rpartition(".")[0] for name in found})})
    if without := [name for name, captions in found.items() if not captions]:
        shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise InputError(
            f"path: {path} has no caption for {shown}; add it to {FILE} or to a file such as "
            f"{Path(without[0]).stem}.txt, or {NO_CAPTIONS}"
        )
    return found, read


def read_table(content: bytes, source: str) -> dict[str, list[str]]:
    """Return the captions in a CSV file with the columns `file` and `caption`, by the path of the image."""
    captions: dict[str, list[str]] = {}
    for _, file, cells in csv_cells(content, source, "file,caption", NO_CAPTIONS, only="caption"):
        captions.setdefault(normal_path(file), []).append(cells["caption"])
    return captions


def read_lines(files: Tree, name: str, path: Path) -> list[str]:
    """Return the lines of a text file that are not empty. If there is no such file, return an empty list."""
    try:
        content = (files.read(name) or b"").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"path: {path}: {name} is not a text in UTF-8; correct it, or {NO_CAPTIONS}") from None
    return [line.strip() for line in content.splitlines() if line.strip()]


def as_tokens(captions: Mapping[str, list[str]], length: int, min_count: int) -> Captions:
    """Convert the captions of images to tokens, in the order of `captions`.

    Args:
        captions: captions of each image, by its name.
        length: maximum number of words in a caption. Further words are left out.
        min_count: minimum number of occurrences of a word. Rarer words are left out.
    """
    condition = TokenCondition.from_texts((one for some in captions.values() for one in some), length, min_count)
    most = max(map(len, captions.values()))
    tokens = [[condition.encode(some[i % len(some)]) for i in range(most)] for some in captions.values()]
    return Captions(condition, torch.stack([torch.stack(some) for some in tokens]))
