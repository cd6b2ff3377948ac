"""Dataset of the user's own images, in a folder (with or without class folders), a zip file or a prepared file."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from rich.progress import MofNCompleteColumn
from torch import Tensor

from gankit import Dataset, InputError, Plugin, Settings, hookimpl, progress_bar, read_prepared
from gankit_plugins.data.decode import NOTE, ImageError
from gankit_plugins.data.decode_all import decode_all
from gankit_plugins.data.folder import list_classes, open_files
from gankit_plugins.data.paths import AbsolutePath

RESOLUTION = 64
CHANNELS: Literal[1, 3] = 3

PREPARED = ".safetensors"
CHUNK_BYTES = 1 << 24
"""Maximum size of a chunk of decoded images, in bytes. A chunk always has at least one image."""

ALWAYS_ALLOWED = 3
"""Number of unusable files that are always skipped without an error, unless `bad_limit` is 0."""

MAX_NAMED = 5
"""Maximum number of unusable files that are listed in one error message or warning."""

SLOW = 10.0
"""Decoding time in seconds above which a message recommends `gankit prepare`."""


class Images(Plugin):
    """Your own images, from a folder (with or without a subfolder for each class), a zip file or a prepared file.

    Images may have any common format, size and aspect ratio. The largest centred square is cropped and resized to
    `resolution` with the Lanczos filter. Transparent areas become white. Hidden files and files that are not images are
    ignored. Damaged files are skipped up to a limit, and a message names them. Zip files are not unpacked to disk.
    The command `gankit prepare images --out FILE path=...` writes a prepared file. Prepared files are memory-mapped, so
    training starts immediately.

    Source: none; there is nothing to cite.

    When to use: any images of your own.
    When not: if images must not be cropped, pad them to squares first. If they do not fit into memory, run
    `gankit prepare` first.
    """

    name = "images"
    kind = "data"

    class Config(Settings):
        path: AbsolutePath = Field(
            description="a folder, a zip file or a prepared .safetensors file; relative to the current folder"
        )
        resolution: int | None = Field(
            None,
            ge=4,
            le=4096,
            description=f"height and width in pixels; default: {RESOLUTION}, or the prepared file's resolution",
        )
        channels: Literal[1, 3] | None = Field(
            None, description=f"1 for grey, 3 for colour; default: {CHANNELS}, or the prepared file's channels"
        )
        classes: bool | None = Field(
            None, description="whether each folder is a class; default: true if there are folders with images"
        )
        bad_limit: float = Field(
            0.01,
            ge=0,
            le=1,
            description=f"proportion of damaged files that are skipped; {ALWAYS_ALLOWED} always are, unless it is 0",
        )

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return prepared_dataset(self.config)
        return UnpreparedImages(self.config).dataset()


def prepared_dataset(config: Images.Config) -> Dataset:
    """Return the dataset of a prepared file, without labels if `classes` is false.

    Raises:
        InputError: the file is not a prepared file, or does not match `resolution`, `channels` or `classes`.
    """
    path, dataset = config.path, read_prepared(config.path)
    for key in ("resolution", "channels"):
        requested, actual = getattr(config, key), getattr(dataset, key)
        if requested not in (None, actual):
            raise InputError(
                f"{key}: {path} was prepared with {key}={actual}, but {requested} is requested; set "
                f"data.{key}={actual}, or prepare the images again"
            )
    if config.classes and not dataset.class_names:
        raise InputError(f"classes: {path} was prepared without classes; remove it, or prepare the images again")
    if config.classes is False:
        return Dataset(dataset.channels, dataset.resolution, (), lambda: (dataset.load()[0], None), note=dataset.note)
    return dataset


class UnpreparedImages:
    """Images in a folder or a zip file. They are decoded at each use. The constructor counts the files and classes.

    Raises:
        InputError: the path cannot be read, there are no images, or an image is outside of the class folders.
    """

    def __init__(self, config: Images.Config) -> None:
        self.path = config.path
        self.resolution = config.resolution or RESOLUTION
        self.channels: Literal[1, 3] = config.channels or CHANNELS
        self.bad_limit = config.bad_limit
        with open_files(self.path) as files:
            self.total, self.labels = list_classes(files.names(), config.classes, self.path)

    def dataset(self) -> Dataset:
        """Return the dataset without decoding any image."""
        return Dataset(
            self.channels, self.resolution, tuple(self.labels), self.load, self.stream, self.total, note=NOTE
        )

    def load(self) -> tuple[Tensor, Tensor | None]:
        """Return images, (N, C, R, R) uint8, and labels, (N,) int64. The labels are None if there are no classes.

        If stderr is a terminal, show a progress bar.
        """
        start = time.monotonic()
        images = torch.empty(self.total, self.channels, self.resolution, self.resolution, dtype=torch.uint8)
        labels: list[Tensor] = []
        count = 0
        with progress_bar(f"reading {self.path.name}", self.total, MofNCompleteColumn()) as bar:
            for chunk, chunk_labels in self.stream():
                images[count : count + len(chunk)] = chunk
                count += len(chunk)
                if chunk_labels is not None:
                    labels.append(chunk_labels)
                bar.update(bar.task_ids[0], completed=count)
        if (seconds := time.monotonic() - start) > SLOW:
            settings = f"path={self.path}", f"resolution={self.resolution}", f"channels={self.channels}"
            command = shlex.join(["gankit", "prepare", "images", "--out", "FILE", *settings])
            _print(f"reading the images took {seconds:.0f} s; `{command}` saves this time")
        return images[:count], torch.cat(labels) if labels else None

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Decode the images, and yield images and labels in chunks. The data are the same as those from `load`.

        Raises:
            InputError: too many files are unusable, an image class has no usable file, or files were added or removed.
        """
        bad_files = BadFiles(self.path, self.total, self.bad_limit)
        chunk_size = max(1, CHUNK_BYTES // (self.channels * self.resolution**2))
        empty_classes = set(self.labels)
        images: list[Tensor] = []
        labels: list[int] = []

        def chunk() -> tuple[Tensor, Tensor | None]:
            return torch.stack(images), torch.tensor(labels) if self.labels else None

        with open_files(self.path) as files:
            decoded_files = decode_all(self._as_listed(files.names()), files.open, self.resolution, self.channels)
            with closing(decoded_files):
                for file, image in decoded_files:
                    if isinstance(image, ImageError):
                        bad_files.add(file, image)
                        continue
                    images.append(image)
                    if self.labels:
                        folder = file.partition("/")[0]
                        labels.append(self.labels[folder])
                        empty_classes.discard(folder)
                    if len(images) == chunk_size:
                        yield chunk()
                        images, labels = [], []
        bad_files.finish(sorted(empty_classes))
        if images:
            yield chunk()

    def _as_listed(self, names: Iterator[str]) -> Iterator[str]:
        """Yield the file names. Raise InputError if files or classes differ from those that the constructor counted."""
        # The names are not stored for this check, because ten million names take much memory.
        count = 0
        for count, name in enumerate(names, 1):
            if count > self.total or (self.labels and name.partition("/")[0] not in self.labels):
                break
            yield name
        else:
            if count == self.total:
                return
        raise InputError(f"path: files in {self.path} were added or removed while it was read; run the command again")


class BadFiles:
    """Counter of unusable image files. `limit` is the largest accepted proportion of them among `total` files."""

    def __init__(self, path: Path, total: int, limit: float) -> None:
        self.path, self.total, self.limit = path, total, limit
        self.allowed = max(ALWAYS_ALLOWED, int(limit * total)) if limit else 0
        self.count = 0
        self.named: list[str] = []

    def add(self, file: str, error: ImageError) -> None:
        """Count an unusable file. Raise `InputError` if too many files are unusable."""
        self.count += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"{file} ({error})")
        if self.count > self.allowed:
            raise InputError(
                f"path: more than {self.allowed} of the {self.total} images in {self.path} cannot be used: "
                f"{self._names()}; remove them, or raise data.bad_limit from {self.limit:g}"
            )

    def finish(self, empty_classes: list[str]) -> None:
        """Print the names of the skipped files. Raise `InputError` if no file is usable.

        `InputError` is also raised if there are empty classes, which are image classes without a usable file.
        """
        if empty_classes or self.count == self.total:
            some = f"of class {', '.join(empty_classes)} " if self.count < self.total else ""
            raise InputError(f"path: none of the images {some}in {self.path} can be used: {self._names()}")
        if self.count:
            _print(f"skipped {self.count} of the {self.total} images in {self.path}: {self._names()}")

    def _names(self) -> str:
        rest = self.count - len(self.named)
        return ", ".join(self.named) + (f" and {rest} more" if rest > 0 else "")


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
