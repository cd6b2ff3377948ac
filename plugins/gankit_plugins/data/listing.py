"""Listing of the image files in a folder or a zip file, with the class or the attributes of each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gankit import ClassCondition, Condition, InputError
from gankit_plugins.data.captions import FIELD, as_tokens, find_captions
from gankit_plugins.data.folder import EXTENSIONS, Tree
from gankit_plugins.data.labels import NO_CLASSES, STYLEGAN, Labels, find_labels, natural_order, vectors_of

PARTS = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))
"""Usual names of folders that contain a split of a dataset, such as its test set, instead of the images of a class."""

MAX_NAMED = 5
"""Maximum number of names that are listed in one message."""


@dataclass(frozen=True)
class Listing:
    """Number of image files in a folder or a zip file, and their classes or attributes."""

    total: int
    class_names: tuple[str, ...]
    """Names of the classes, in the order of their labels. Empty if the images have no classes."""

    outer: str
    """Path of the folder that contains all class folders, with a slash at the end. "" means the top folder."""

    classes: Mapping[str, str] | None
    """Class of each image file, from a file with labels.

    None if the folders are the classes, or if there are no classes.
    """

    passed_over: Counter[str]
    """Number of files that are not images, by extension."""

    messages: tuple[str, ...]
    """Messages about folders that the user may not want as classes."""

    described: Condition | None = None
    """Description of the attributes or captions. None if the images have no attributes and no captions."""

    values: Tensor | None = None
    """Attributes as numbers, (N, K), or captions as tokens, (N, T), with a row for each file.

    None if the images have no attributes and no captions.
    """

    row: Mapping[str, int] = field(default_factory=dict)
    """Mapping from the path of a file to the index of its row in `values`."""

    captions: Tensor | None = None
    """All captions as tokens, (N, M, T). None if no image has several captions."""

    @property
    def condition(self) -> Condition | None:
        """Description of the condition of the images, or None if they have no condition."""
        return self.described or ClassCondition.of(self.class_names)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of further tensors of the images."""
        return () if self.captions is None else (FIELD,)

    def index_of(self, name: str) -> int | None:
        """Return the label of a file, or the index of its row in `values` if there are `values`.

        Return None for an unknown file, or if the images have no condition.
        """
        return self.row.get(name) if self.described else self.label_of.get(self.class_of(name) or "")

    def rows_of(self, indices: list[int]) -> Tensor | None:
        """Return the labels (n,), attributes (n, K) or tokens (n, T) of files, given their indices from `index_of`.

        Return None if the images have no condition.
        """
        if self.condition is None:
            return None
        rows = torch.tensor(indices)
        return rows if self.values is None else self.values[rows]

    def fields_of(self, indices: list[int]) -> dict[str, Tensor]:
        """Return the further tensors of files by name, given their indices from `index_of`."""
        return {} if self.captions is None else {FIELD: self.captions[torch.tensor(indices)]}

    @cached_property
    def label_of(self) -> dict[str, int]:
        """Mapping from the name of a class to its label."""
        return {name: label for label, name in enumerate(self.class_names)}

    @property
    def contents(self) -> str:
        """Number of images and of other files as text, such as `20 images of 422 files (others: 400 .heic, 2 .txt)`."""
        others = f" (others: {extensions(self.passed_over)})" if self.passed_over else ""
        return f"{self.total:,} images of {self.total + self.passed_over.total():,} files{others}"

    def class_of(self, name: str) -> str | None:
        """Return the class of a file, or None if the file is outside `outer` or missing from the file with labels."""
        if self.classes is not None:
            return self.classes.get(name)
        return name.removeprefix(self.outer).partition("/")[0] if name.startswith(self.outer) else None


def list_images(
    files: Tree, classes: bool | None, path: Path, things: str = "images", extensions_read: str = EXTENSIONS
) -> Listing:
    """Count the image files, or other files, and find their classes.

    Each folder is a class and includes all images in its subfolders. A folder that contains all images is not a class;
    the folders inside it are the classes. If there is a file with labels, the labels are the classes instead. Classes
    are in natural order: 2 before 10.

    Args:
        files: files in a folder or a zip file.
        classes: True if the images have classes, otherwise False. With None, they have classes if there are labels or
            class folders.
        path: path of the folder or zip file, for messages.
        things: word for the files in messages.
        extensions_read: extensions of these files, separated by spaces, for messages.

    Raises:
        InputError: there are no images, an image has no class, or the file with labels cannot be used.
    """
    total, folders = 0, dict[str, str]()
    for name in files.names():
        total += 1
        folders.setdefault(name.rpartition("/")[0], name)
    if not total:
        raise InputError(
            f"path: {path} contains no {things}; the extensions are {extensions_read.replace(' ', ', ')}"
            + (f", and these files are {extensions(files.passed_over)}" if files.passed_over else "")
        )
    outer = common_folder(folders)
    counts = Counter(files.passed_over)
    if classes is False:
        return Listing(total, (), outer, None, counts, ())
    if (found := find_labels(files, outer, path)) is not None:
        counts[Path(found.file).suffix] -= 1
        if found.by_image:
            return _labelled(files, found, total, +counts, path)
        if classes is None:  # without labels, the folders of StyleGAN's dataset are not classes
            message = (
                f"{found.file} has no labels, so the {things} have no classes; with `classes = true`, folders are "
                "classes"
            )
            return Listing(total, (), outer, None, +counts, (message,))
    if classes and outer and len(folders) == 1:  # the folder that contains all images is the only class
        outer = outer[: outer.rstrip("/").rfind("/") + 1]
    names = {name.removeprefix(outer).partition("/")[0] for name in folders if name != outer.rstrip("/")}
    if not names and not classes:
        return Listing(total, (), outer, None, counts, ())
    if outer.rstrip("/") in folders:
        raise InputError(
            f"path: {path}: {folders[outer.rstrip('/')]} is not in the folder of a class; move all {things} into "
            f"such folders, or set `classes = false` for {things} without classes"
        )
    messages = []
    if empty := files.subfolders(outer) - names:
        messages.append(f"folders with no {things} are not classes: {shortened(sorted(empty, key=natural_order))}")
    if parts := {name for name in names if name.lower() in PARTS}:
        messages.append(
            f"the classes include {shortened(sorted(parts))}, which look like parts of a dataset; give the path of one "
            f"part, or set data.classes=false for {things} without classes"
        )
    return Listing(total, tuple(sorted(names, key=natural_order)), outer, None, counts, tuple(messages))


def as_listed(names: Iterable[str], listing: Listing, path: Path) -> Iterator[str]:
    """Yield the file names in `path`. Raise InputError if files or classes differ from the listing."""
    # Do not store the names for this check, because ten million names take much memory.
    count = 0
    for count, name in enumerate(names, 1):
        if count > listing.total or (listing.condition is not None and listing.index_of(name) is None):
            break
        yield name
    else:
        if count == listing.total:
            return
    raise InputError(f"path: files in {path} were added or removed while it was read; run the command again")


def list_captioned(files: Tree, path: Path, length: int, min_count: int) -> Listing:
    """Return the listing of images with captions. Class folders and labels are ignored.

    Args:
        files: files in a folder or a zip file.
        path: path of the folder or zip file, for messages.
        length: maximum number of words in a caption.
        min_count: minimum number of occurrences of a word.

    Raises:
        InputError: there are no images, or an image has no caption.
    """
    plain = list_images(files, False, path)
    names = list(files.names())
    outer = common_folder({name.rpartition("/")[0] for name in names})
    captions, read = find_captions(files, names, outer, path)
    condition, tokens = as_tokens(captions, length, min_count)
    rows = {name: row for row, name in enumerate(names)}
    several = tokens if tokens.shape[1] > 1 else None
    others = plain.passed_over - read
    return replace(plain, passed_over=others, described=condition, values=tokens[:, 0], row=rows, captions=several)


def _labelled(files: Tree, labels: Labels, total: int, counts: Counter[str], path: Path) -> Listing:
    """Return the listing of images whose labels are in a file."""
    without = [name for name in files.names() if name not in labels.by_image]
    if without:
        raise InputError(
            f"path: {path}: {labels.file} has no label for {shortened(without)}; add the labels, or {NO_CLASSES}"
        )
    used = {name: labels.by_image[name] for name in files.names()}
    attributes = {name: label for name, label in used.items() if isinstance(label, dict)}
    if attributes:
        condition, numbers = vectors_of(attributes, f"path: {path}: {labels.file}")
        rows = {name: row for row, name in enumerate(attributes)}
        return Listing(total, (), "", None, counts, (), condition, numbers, rows)
    classes = {name: label for name, label in used.items() if isinstance(label, str)}
    names = tuple(sorted(set(classes.values()), key=natural_order))
    messages = []
    if labels.file == STYLEGAN and names != tuple(map(str, range(len(names)))):
        messages.append(
            f"the labels in {STYLEGAN} are not 0 to {len(names) - 1}; the classes are named by their labels: "
            + shortened(names)
        )
    return Listing(total, names, "", classes, counts, tuple(messages))


def common_folder(folders: Iterable[str]) -> str:
    """Return the path of the deepest folder that contains all given folders: "" or a path that ends in a slash."""
    first, last = min(split := [folder.split("/") for folder in folders]), max(split)
    depth = next((i for i, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), min(map(len, split)))
    return "".join(f"{part}/" for part in first[:depth] if part)


def extensions(counts: Counter[str]) -> str:
    """Return the number of files with each extension as text, such as `400 .heic, 2 .txt`."""
    return shortened(f"{count:,} {extension}" for extension, count in counts.most_common())


def shortened(names: Iterable[str]) -> str:
    """Return names as text, separated by commas. After `MAX_NAMED` names, only the number of further names follows."""
    ordered = list(names)
    more = len(ordered) - MAX_NAMED
    return ", ".join(ordered[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
