"""Anybody's images: a folder, a tree with a folder for each class, a zip file of either, or a prepared file."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from pydantic import Field, field_validator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gankit import Dataset, InputError, Plugin, Settings, hookimpl, read_prepared
from gankit_plugins.data.decode import NOTE, BadImage, decode, large_images_without_warnings
from gankit_plugins.data.folder import LARGEST_FILE, Listing, Shelf, listing, opened
from gankit_plugins.data.paths import absolute

PREPARED = ".safetensors"
CHUNK = 256
"""Images handed on at once."""

AHEAD = 8
"""Images that each thread may be ahead by."""

FORGIVEN = 3
"""As many bad files are skipped however few there are, unless none may be."""

NAMED = 5
"""Bad files that a message names."""

LONG = 10.0
"""Seconds of decoding after which preparing is worth mentioning."""


class Images(Plugin):
    """Your own images: a folder, a tree with one folder for each class, a zip file, or a prepared file.

    Any size, any aspect, any common format: the largest centred square is kept and brought to `resolution` (see
    `decode`). Hidden files and files that are no images are ignored; files that are damaged are named, counted and
    skipped, up to a limit. Images of the file that `gankit prepare images --out FILE path=...` writes are mapped
    into memory and used at once.

    When to use: for whatever you want to learn from.
    When not: for images that must not be cropped; pad them to squares first. When they do not fit into memory,
    prepare them.
    """

    name = "images"
    kind = "data"

    class Config(Settings):
        path: Path = Field(
            description="a folder, a zip file or a prepared .safetensors file; relative to the current folder"
        )
        resolution: int | None = Field(
            None, ge=4, le=4096, description="height and width in pixels; 64, or what a file was prepared at"
        )
        channels: Literal[1, 3] | None = Field(
            None, description="1 for grey, 3 for colour; 3, or what a file was prepared with"
        )
        classes: bool | None = Field(
            None, description="whether each folder is a class; by default if there are folders with images"
        )
        bad_limit: float = Field(
            0.01, ge=0, le=1, description="share of damaged files that are skipped (three always are, unless it is 0)"
        )

        @field_validator("path")
        @classmethod
        def _absolute(cls, path: Path) -> Path:
            return absolute(path)

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        if c.path.suffix == PREPARED and not c.path.is_dir():
            return as_prepared(c)
        channels: Literal[1, 3] = c.channels or 3
        unprepared = Unprepared(c.path, c.resolution or 64, channels, c.classes, c.bad_limit)
        found = unprepared.listing()
        return Dataset(
            channels,
            unprepared.resolution,
            found.class_names,
            unprepared.load,
            unprepared.stream,
            len(found.files),
            NOTE,
        )


def as_prepared(config: Images.Config) -> Dataset:
    """The images of a prepared file.

    Raises InputError when it is none, or does not agree with the settings.
    """
    path, dataset = config.path, read_prepared(config.path)
    for key in ("resolution", "channels"):
        asked, found = getattr(config, key), getattr(dataset, key)
        if asked not in (None, found):
            raise InputError(
                f"{key}: {path} was prepared with {key} = {found}, but {asked} is asked for; leave {key} out, or "
                f"prepare the images again"
            )
    if config.classes and not dataset.class_names:
        raise InputError(f"classes: {path} was prepared without classes; leave it out, or prepare the images again")
    if config.classes is False:
        return Dataset(dataset.channels, dataset.resolution, (), lambda: (dataset.load()[0], None), note=dataset.note)
    return dataset


class Unprepared:
    """Images that are decoded each time.

    Args:
        path: a folder or a zip file.
        resolution: R.
        channels: C.
        classes: whether folders are classes; None to see.
        bad_limit: the share of bad files that are skipped.
    """

    def __init__(
        self, path: Path, resolution: int, channels: Literal[1, 3], classes: bool | None, bad_limit: float
    ) -> None:
        self.path, self.classes, self.bad_limit = path, classes, bad_limit
        self.resolution, self.channels = resolution, channels

    def listing(self) -> Listing:
        """Raises InputError for a path where there are no images, or not in order."""
        with opened(self.path) as shelf:
            return listing(shelf.names(), self.classes, self.path)

    def load(self) -> tuple[Tensor, Tensor | None]:
        """(N, C, R, R) uint8 and (N,) int64 or None, with a bar on a terminal."""
        begun = time.monotonic()
        total = len(self.listing().files)
        images = torch.empty(total, self.channels, self.resolution, self.resolution, dtype=torch.uint8)
        labels: list[Tensor] = []
        count = 0
        with _bar(f"reading {self.path.name}", total) as bar:
            for chunk, some_labels in self.stream():
                images[count : count + len(chunk)] = chunk
                count += len(chunk)
                labels += [] if some_labels is None else [some_labels]
                bar.update(bar.task_ids[0], completed=count)
        if (took := time.monotonic() - begun) > LONG:
            _tell(f"reading the images took {took:.0f} s; `gankit prepare images --out FILE path={self.path}` saves that")
        return images[:count], torch.cat(labels) if labels else None

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Chunks of what `load` gives.

        Raises:
            InputError: too many bad files, or a class of nothing else.
        """
        with opened(self.path) as shelf:
            found = listing(shelf.names(), self.classes, self.path)
            bad = BadFiles(self.path, len(found.files), self.bad_limit)
            pixels: list[Tensor] = []
            marks: list[int] = []
            seen: set[int] = set()
            for index, image in enumerate(self._decoded(shelf, found.files)):
                if isinstance(image, BadImage):
                    bad.add(found.files[index], image)
                    continue
                pixels.append(image)
                if found.labels is not None:
                    marks.append(found.labels[index])
                if len(pixels) == CHUNK:
                    seen.update(marks)
                    yield torch.stack(pixels), torch.tensor(marks) if found.labels is not None else None
                    pixels, marks = [], []
            seen.update(marks)
            bad.conclude([name for label, name in enumerate(found.class_names) if label not in seen])
            if pixels:
                yield torch.stack(pixels), torch.tensor(marks) if found.labels is not None else None

    def _decoded(self, shelf: Shelf, files: list[PurePosixPath]) -> Iterator[Tensor | BadImage]:
        """Every file's image or what is wrong with it, in order, worked out on all cores a little ahead."""
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        coming: deque[Future[Tensor | BadImage]] = deque()
        pool = ThreadPoolExecutor(threads, "gankit-decode")
        try:
            with large_images_without_warnings():
                for file in files:
                    coming.append(pool.submit(self._decode, shelf, file))
                    if len(coming) > AHEAD * threads:
                        yield coming.popleft().result()
                while coming:
                    yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, shelf: Shelf, file: PurePosixPath) -> Tensor | BadImage:
        try:
            if shelf.size(file) > LARGEST_FILE:
                return BadImage(f"a file of {shelf.size(file)} bytes is no image")
            data = shelf.read(file)
        except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile) as error:
            return BadImage(f"cannot be read: {error}")
        try:
            return decode(data, self.resolution, self.channels)
        except BadImage as bad:
            return bad


class BadFiles:
    """Counts the files that cannot be used, and says so.

    Args:
        path: where they lie.
        total: files in all.
        limit: the share of them that may be bad.
    """

    def __init__(self, path: Path, total: int, limit: float) -> None:
        self.path, self.total = path, total
        self.allowed = max(FORGIVEN, int(limit * total)) if limit else 0
        self.limit = limit
        self.found: list[str] = []

    def add(self, file: PurePosixPath, bad: BadImage) -> None:
        """Raises InputError when it is one too many."""
        self.found.append(f"{file} ({bad})")
        if len(self.found) > self.allowed:
            raise InputError(
                f"path: more than {self.allowed} of the {self.total} images in {self.path} cannot be used: "
                f"{self._names()}; remove them, or raise bad_limit = {self.limit:g}"
            )

    def conclude(self, empty_classes: list[str]) -> None:
        """Says what was skipped. Raises InputError when nothing is left, in all or of a class."""
        if len(self.found) == self.total:
            raise InputError(f"path: not one image in {self.path} can be used: {self._names()}")
        if empty_classes:
            raise InputError(
                f"path: not one image of class {', '.join(empty_classes)} in {self.path} can be used: {self._names()}"
            )
        if self.found:
            _tell(f"skipped {len(self.found)} of the {self.total} images in {self.path}: {self._names()}")

    def _names(self) -> str:
        rest = len(self.found) - NAMED
        return ", ".join(self.found[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _bar(what: str, total: int) -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    progress.add_task(what, total=total)
    return progress
