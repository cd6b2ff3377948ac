"""Anybody's images: a folder, a tree with a folder for each class, a zip file of either, or a prepared file."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, field_validator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gankit import Dataset, InputError, Plugin, Settings, hookimpl, read_prepared
from gankit_plugins.data.decode import NOTE, ImageError
from gankit_plugins.data.decode_all import ResolvedPlugin, decode_all
from gankit_plugins.data.folder import Listing, Shelf, listing, opened
from gankit_plugins.data.paths import absolute

RESOLUTION = 64
CHANNELS: Literal[1, 3] = 3

PREPARED = ".safetensors"
CHUNK_BYTES = 1 << 24
"""Of the images that are handed on at once; one, if that is larger."""

FORGIVEN = 3
"""Unless none may be bad, so many may, however few files there are."""

NAMED = 5
"""Bad files that a message names."""

LONG = 10.0
"""Seconds of decoding after which preparing is worth mentioning."""


class Images(Plugin):
    """Your own images: a folder, a tree with one folder for each class, a zip file, or a prepared file.

    Any common format, any size, any aspect: the largest centred square is kept and brought to `resolution` with
    Lanczos' filter; transparent parts lie over white. Hidden files and files that are no images are ignored;
    damaged ones are named, counted and skipped, up to a limit. Zip files are read in place. Images that
    `gankit prepare images --out FILE path=...` wrote are mapped into memory and used at once, however many they are.

    Source: none; there is nothing to cite.

    When to use: for whatever you want to learn from.
    When not: for images that must not be cropped; pad them to squares first. If they do not fit into memory,
    prepare them.
    """

    name = "images"
    kind = "data"

    class Config(Settings):
        path: Path = Field(
            description="a folder, a zip file or a prepared .safetensors file; relative to the current folder"
        )
        resolution: int | None = Field(
            None, ge=4, le=4096, description=f"height and width in pixels; {RESOLUTION}, or what a file was prepared at"
        )
        channels: Literal[1, 3] | None = Field(
            None, description=f"1 for grey, 3 for colour; {CHANNELS}, or what a file was prepared with"
        )
        classes: bool | None = Field(
            None, description="whether each folder is a class; by default, if there are folders with images"
        )
        bad_limit: float = Field(
            0.01,
            ge=0,
            le=1,
            description=f"share of damaged files that are skipped; {FORGIVEN} always are, unless it is 0",
        )

        @field_validator("path")
        @classmethod
        def _absolute(cls, path: Path) -> Path:
            return absolute(path)

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return as_prepared(self.config)
        return Unprepared(self.config).dataset()


def as_prepared(config: Images.Config) -> Dataset:
    """The images of a prepared file.

    Raises InputError when it is none, or does not agree with the settings.
    """
    path, dataset = config.path, read_prepared(config.path)
    for key in ("resolution", "channels"):
        asked, found = getattr(config, key), getattr(dataset, key)
        if asked not in (None, found):
            raise InputError(
                f"{key}: {path} was prepared with {key}={found}, and {asked} is asked for; say data.{key}={found}, or "
                f"prepare the images again"
            )
    if config.classes and not dataset.class_names:
        raise InputError(f"classes: {path} was prepared without classes; leave it out, or prepare the images again")
    if config.classes is False:
        return Dataset(dataset.channels, dataset.resolution, (), lambda: (dataset.load()[0], None), note=dataset.note)
    return dataset


class Unprepared:
    """Images that are decoded each time, from a folder or a zip file.

    How many files there are, of which classes, is seen once, here.

    Raises:
        InputError: there are none, or not in order.
    """

    def __init__(self, config: Images.Config) -> None:
        self.path = config.path
        self.resolution = config.resolution or RESOLUTION
        self.channels: Literal[1, 3] = config.channels or CHANNELS
        self.bad_limit = config.bad_limit
        with opened(self.path) as shelf:
            self.listing: Listing = listing(shelf.names(), config.classes, self.path)

    def dataset(self) -> Dataset:
        count, names = self.listing.count, self.listing.class_names
        return Dataset(self.channels, self.resolution, names, self.load, self.stream, count, NOTE)

    def load(self) -> tuple[Tensor, Tensor | None]:
        """(N, C, R, R) uint8 and (N,) int64 or None, with a bar on a terminal."""
        begun = time.monotonic()
        total = self.listing.count
        images = torch.empty(total, self.channels, self.resolution, self.resolution, dtype=torch.uint8)
        labels: list[Tensor] = []
        count = 0
        with _bar(f"reading {self.path.name}", total) as bar:
            for chunk, marks in self.stream():
                images[count : count + len(chunk)] = chunk
                count += len(chunk)
                if marks is not None:
                    labels.append(marks)
                bar.update(bar.task_ids[0], completed=count)
        if (took := time.monotonic() - begun) > LONG:
            _tell(f"reading the images took {took:.0f} s, which `{self.how_to_prepare()}` would save")
        return images[:count], torch.cat(labels) if labels else None

    def how_to_prepare(self) -> str:
        settings = f"path={self.path}", f"resolution={self.resolution}", f"channels={self.channels}"
        return shlex.join(["gankit", "prepare", "images", "--out", "FILE", *settings])

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What `load` gives, in chunks.

        Raises:
            InputError: too many bad files, or nothing else, in all or in a class; or files have come or gone.
        """
        names = self.listing.class_names
        bad = BadFiles(self.path, self.listing.count, self.bad_limit)
        together = max(1, CHUNK_BYTES // (self.channels * self.resolution**2))
        seen: set[int] = set()
        pixels: list[Tensor] = []
        marks: list[int] = []

        def chunk() -> tuple[Tensor, Tensor | None]:
            return torch.stack(pixels), torch.tensor(marks) if names else None

        with opened(self.path) as shelf, closing(self._decoded(shelf)) as found:
            for file, image in found:
                if isinstance(image, ImageError):
                    bad.add(file, image)
                    continue
                pixels.append(image)
                if names:
                    label = self.listing.label(file)
                    marks.append(label)
                    seen.add(label)
                if len(pixels) == together:
                    yield chunk()
                    pixels, marks = [], []
        bad.conclude([name for number, name in enumerate(names) if number not in seen])
        if pixels:
            yield chunk()

    def _decoded(self, shelf: Shelf) -> Generator[ResolvedPlugin, None, None]:
        return decode_all(shelf, self._as_listed(shelf.names()), self.resolution, self.channels)

    def _as_listed(self, names: Iterator[str]) -> Iterator[str]:
        """Files as they are met once more. Which they are is not remembered, so that ten million take no memory."""
        left, classes = self.listing.count, bool(self.listing.class_names)
        for name in names:
            left -= 1
            if left < 0 or (classes and not self.listing.has_class(name)):
                break
            yield name
        else:
            if not left:
                return
        raise InputError(f"path: files have come or gone in {self.path} while it was read; leave it alone meanwhile")


class BadFiles:
    """Counts the files that cannot be used, and says so.

    Args:
        path: where they lie.
        total: files in all.
        limit: the share of them that may be bad.
    """

    def __init__(self, path: Path, total: int, limit: float) -> None:
        self.path, self.total, self.limit = path, total, limit
        self.allowed = max(FORGIVEN, int(limit * total)) if limit else 0
        self.count = 0
        self.named: list[str] = []

    def add(self, file: str, error: ImageError) -> None:
        """Raises InputError when it is one too many."""
        self.count += 1
        if len(self.named) < NAMED:
            self.named.append(f"{file} ({error})")
        if self.count > self.allowed:
            raise InputError(
                f"path: more than {self.allowed} of the {self.total} images in {self.path} cannot be used: "
                f"{self._names()}; remove them, or raise data.bad_limit, {self.limit:g} now"
            )

    def conclude(self, empty_classes: list[str]) -> None:
        """Says what was skipped. Raises InputError when nothing is left, in all or of a class."""
        if self.count == self.total:
            raise InputError(f"path: not one image in {self.path} can be used: {self._names()}")
        if empty_classes:
            raise InputError(
                f"path: not one image of class {', '.join(empty_classes)} in {self.path} can be used: {self._names()}"
            )
        if self.count:
            _tell(f"skipped {self.count} of the {self.total} images in {self.path}: {self._names()}")

    def _names(self) -> str:
        rest = self.count - len(self.named)
        return ", ".join(self.named) + (f" and {rest} more" if rest > 0 else "")


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _bar(what: str, total: int) -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    progress.add_task(what, total=total)
    return progress
