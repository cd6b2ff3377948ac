"""Dataset of the user's own images, from a folder, a zip file or a file written by `gankit prepare`."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from rich.progress import MofNCompleteColumn
from torch import Tensor

from gankit import (
    Dataset,
    FileFacts,
    InputError,
    Plugin,
    RecipePath,
    Settings,
    TokenCondition,
    hookimpl,
    progress_bar,
    read_prepared,
)
from gankit_plugins.data.brightness import MAXIMUM, ImageError, Limits, RangeError
from gankit_plugins.data.decode import Channels, ClipFrames, Size, note
from gankit_plugins.data.decode_all import decode_all
from gankit_plugins.data.file_facts import inspect_files
from gankit_plugins.data.folder import Files, open_files
from gankit_plugins.data.listing import MAX_NAMED, Listing, as_listed, list_captioned, list_images
from gankit_plugins.data.value_range import check_ascending

RESOLUTION = 64
CHANNELS: Channels = 3

SMALLEST, LARGEST = 4, 4096
"""Limits of height and width, in pixels."""

Side = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]


def _check_sides(resolution: Any) -> Any:
    # Check both forms of the setting here: a side, or height and width. Otherwise, pydantic would report a separate
    # error for each form.
    sides = resolution if isinstance(resolution, list | tuple) else [resolution] * 2
    if resolution is not None and not (
        len(sides) == 2 and all(type(side) is int and SMALLEST <= side <= LARGEST for side in sides)
    ):
        raise ValueError(f"expected a side from {SMALLEST} to {LARGEST}, such as 64, or [height, width]")
    return tuple(resolution) if isinstance(resolution, list) else resolution


Resolution = Annotated[Side | tuple[Side, Side], BeforeValidator(_check_sides)]
"""Type of the setting `resolution`: one side of a square, or height and width."""

ALWAYS_ALLOWED = 3
"""Number of unusable files that are skipped even in small datasets. If `bad_limit` is 0, none are skipped."""

BadLimit = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=f"proportion of damaged files that are skipped; {ALWAYS_ALLOWED} always are, unless it is 0",
    ),
]

PREPARED = ".safetensors"
CHUNK_BYTES = 1 << 24
CHUNK_IMAGES = 256
"""Maximum size of a chunk of decoded images, in bytes and in images. A chunk always has at least one image.

The progress bar moves with each chunk.
"""

Loaded = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, dict[str, Tensor]]
"""Images and their condition. If there are further tensors, such as captions, they follow by name."""

SLOW = 10.0
"""Time in seconds. If reading all images takes longer, a message recommends `gankit prepare`."""


class Images(Plugin):
    """Your own images, from a folder (with or without a subfolder for each class), a zip file or a prepared file.

    Images may have any common format, size and aspect ratio. Each image is cropped to its largest centred square, or to
    its largest centred rectangle with the aspect ratio of `resolution`. It is then resized with the Lanczos filter.
    Transparent areas become white. If `channels` is 4, they stay transparent, and the fourth channel is the opacity.
    16-bit images are scaled to 8 bits. With `value_range`, grey images keep their full precision (16-bit PNG and TIFF,
    TIFF with floating-point numbers, signed or 32-bit integers): the range is scaled to [-1, 1], and values outside of
    it are refused. Without this setting, images whose values have no known range cannot be used. Colour profiles are
    ignored. Damaged files are skipped up to a limit, and a message names them. Hidden files are ignored. Files that are
    not images are counted by extension.

    Each folder in `path` is a class. A folder that contains all other folders is not a class. Classes are in natural
    order (2 before 10). A file with labels replaces the class folders: `labels.csv` with the columns `file` and
    `class`, `labels.json` with an object `{"FILE": "CLASS"}`, or StyleGAN's `dataset.json`. Instead of a class, images
    may have attributes, which are numbers or words. The attributes are the other columns of `labels.csv`. In
    `labels.json`, they are one object per file, such as `{"FILE": {"age": 30, "colour": "red"}}`. The condition of an
    image is then a vector (`VectorCondition`). A zip file has the same classes as its unpacked folder. It is not
    unpacked to disk.

    With `captions`, the condition of an image is a text (`TokenCondition`). The captions are in `captions.csv` with the
    columns `file` and `caption`, one row for each caption. Without this file, the captions of `NAME.png` are the lines
    of `NAME.txt` beside it. Words are in lower case, without punctuation. If an image has several captions, the
    condition is the first one, and the field `captions` has all of them for the trick `random_caption`.

    The command `gankit prepare images --out FILE path=...` writes a prepared file. Prepared files are memory-mapped, so
    training starts immediately.

    Source: none.

    When to use: for your own images.
    When not: if images must not be cropped; first pad them to the same aspect ratio. If the images do not fit into
    memory, run `gankit prepare` first.
    """

    name = "images"
    kind = "data"

    class Config(Settings):
        path: RecipePath = Field(description="a folder, a zip file or a prepared .safetensors file")
        resolution: Resolution | None = Field(
            None,
            description=f"side in pixels, or [height, width]; default: {RESOLUTION}, or that of the prepared file",
        )
        channels: Channels | None = Field(
            None,
            description=f"1: grey, 3: colour, 4: colour and opacity; default: {CHANNELS}, or that of the prepared file",
        )
        classes: bool | None = Field(
            None,
            description="false to ignore labels and folders; true if a single folder is a class; default: classes if "
            "there are labels or several folders",
        )
        value_range: Annotated[Limits | None, AfterValidator(check_ascending)] = Field(
            None,
            description="[low, high]: values of grey images that become -1 and 1, with full precision; needs "
            "channels = 1; default: the images are converted to 8 bits",
        )
        captions: bool = Field(
            False, description="true if the condition is a text, from captions.csv or from NAME.txt beside each image"
        )
        max_words: int = Field(24, ge=1, le=10_000, description="words of a caption; longer captions are cut")
        min_word_count: int = Field(1, ge=1, description="rarer words of the captions are left out")
        bad_limit: BadLimit = 0.01

        @model_validator(mode="after")
        def _captions_or_classes(self) -> Images.Config:
            if self.captions and self.classes:
                raise ValueError("images have classes or captions; remove classes or captions")
            return self

        @model_validator(mode="after")
        def _grey_range(self) -> Images.Config:
            if self.value_range is not None and self.channels != 1:
                raise ValueError("value_range is for grey images; set channels = 1, or remove value_range")
            return self

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return prepared_dataset(self.config)
        return unprepared_images(self.config).dataset()


def size_of(resolution: int | tuple[int, int]) -> Size:
    """Return height and width for the setting `resolution`, which is one side of a square, or height and width."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def prepared_dataset(config: Images.Config) -> Dataset:
    """Return the dataset in a file written by `gankit prepare`.

    Raises:
        InputError: the file has another format, or does not match the settings `resolution`, `channels`, `classes` or
            `captions`.
    """
    if config.value_range is not None:
        raise InputError(f"value_range: {config.path} has prepared images, which are scaled; remove data.value_range")
    path, dataset = config.path, read_prepared(config.path)
    if config.captions and not isinstance(dataset.condition, TokenCondition):
        raise InputError(f"captions: {path} was prepared without captions; remove it, or prepare the images again")
    if config.resolution is config.channels is None:
        return with_classes(dataset, config)
    if len(dataset.shape) != 3:
        raise InputError(f"{path} has no images, but samples of shape {dataset.shape}; remove resolution and channels")
    channels, height, width = dataset.shape
    resolution = height if height == width else [height, width]
    same_size = config.resolution is None or size_of(config.resolution) == (height, width)
    for key, requested, same, actual in (
        ("resolution", config.resolution, same_size, resolution),
        ("channels", config.channels, config.channels in (None, channels), channels),
    ):
        if not same:
            raise InputError(
                f"{key}: {path} was prepared with {key}={actual}, but {requested} is requested; set "
                f"data.{key}={actual}, or prepare the images again"
            )
    return with_classes(dataset, config)


class PreparedSettings(Protocol):
    """Interface (`typing.Protocol`) of settings for a prepared file: its path, and whether its classes are used."""

    @property
    def path(self) -> Path: ...

    @property
    def classes(self) -> bool | None: ...


def with_classes(dataset: Dataset, config: PreparedSettings) -> Dataset:
    """Return the dataset unchanged, or without its condition if the setting `classes` is false.

    Raises:
        InputError: the setting `classes` is true, and the dataset has no classes.
    """
    if config.classes and not dataset.class_names:
        raise InputError(f"classes: {config.path} was prepared without classes; remove it, or prepare the images again")
    if config.classes is False:
        return replace(dataset, condition=None, load=lambda: dataset.read()._replace(condition=None))
    return dataset


def unprepared_images(config: Images.Config, listing: Listing | None = None) -> UnpreparedImages:
    """Return the images in a folder or a zip file. Count the files and classes, but do not decode the images.

    Args:
        config: settings of the images.
        listing: listing of the images. If None, the files are listed.

    Raises:
        InputError: the path cannot be read, there are no images, or an image is outside of the class folders.
    """
    path, resolution, channels = config.path, config.resolution or RESOLUTION, config.channels or CHANNELS
    if listing is None:
        with open_files(path) as files:
            if config.captions:
                listing = list_captioned(files, path, config.max_words, config.min_word_count)
            else:
                listing = list_images(files, config.classes, path)
    command = prepare_command("images", config, path=path, resolution=resolution, channels=channels)
    return UnpreparedImages(
        path,
        partial(open_files, path),
        listing,
        size_of(resolution),
        channels,
        config.bad_limit,
        command,
        value_range=config.value_range,
    )


def prepare_command(plugin: str, config: Settings, **resolved: Any) -> str:
    """Return the command `gankit prepare` for the data of a plugin.

    Args:
        plugin: name of the plugin.
        config: settings of the plugin. The command contains the settings that differ from their defaults.
        resolved: settings that the command always contains, with their values.
    """
    given = config.model_dump(mode="json", exclude_defaults=True)
    settings = {**resolved, **{name: value for name, value in given.items() if name not in resolved}}
    texts = (f"{k}={v if isinstance(v, str | Path) else json.dumps(v)}" for k, v in settings.items())
    return shlex.join(["gankit", "prepare", plugin, "--out", "FILE", *texts])


@dataclass(frozen=True)
class UnpreparedImages:
    """Image files that are decoded each time the dataset is read."""

    path: Path
    """Folder or file of the images, for messages."""

    open: Callable[[], AbstractContextManager[Files]]
    """Function that opens the image files (a context manager)."""

    listing: Listing
    """Listing of the image files, with their number and their condition."""

    size: Size
    channels: Channels

    bad_limit: float | None
    """Largest accepted proportion of unusable files.

    None if all files must be usable, as in plugins without the setting `bad_limit`.
    """

    command: str
    """`gankit prepare` command for these images, which a message recommends."""

    crop: int | None = None
    """Side, in pixels, of the centred square that is cropped from each image before it is resized, or None."""

    value_range: Limits | None = None
    """Limits of the values of grey images, which are then decoded as float32 in [-1, 1].

    None if the images are decoded as uint8.
    """

    frames: ClipFrames | None = None
    """Chosen frames of each clip, or None for still images."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a decoded image (C, H, W), or of a decoded clip (C, T, H, W)."""
        return (self.channels, *([] if self.frames is None else [self.frames.count]), *self.size)

    @property
    def things(self) -> str:
        """Word for the samples in messages: images or clips."""
        return "images" if self.frames is None else "clips"

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the decoded images."""
        return torch.uint8 if self.value_range is None else torch.float32

    def dataset(self) -> Dataset:
        """Return the dataset without decoding any image."""
        clips = self.frames is not None
        return Dataset(
            self.shape,
            self.listing.condition,
            self.load,
            self.stream,
            self.listing.total,
            note=note(self.channels, self.size, self.crop, self.value_range),
            contents=f"{self.listing.total:,} clips" if clips else self.listing.contents,
            fields=self.listing.fields,
            inspect=None if clips else self.inspect,
        )

    def inspect(self) -> Iterator[FileFacts]:
        """Yield facts about each image file."""
        with self.open() as files:
            yield from inspect_files(files, self.listing)

    def load(self) -> Loaded:
        """Return images, (N, C, H, W), their condition, and their fields.

        The condition is labels (N,), attributes (N, K), tokens (N, T), or None.

        If stderr is a terminal, show a progress bar.
        """
        start = time.monotonic()
        total = self.listing.total
        images = torch.empty(total, *self.shape, dtype=self.dtype)
        conditions: list[Tensor] = []
        fields: dict[str, list[Tensor]] = {name: [] for name in self.listing.fields}
        count = 0
        with progress_bar(f"reading {self.path.name}", total, MofNCompleteColumn()) as bar:
            for chunk, condition, *more in self.stream():
                images[count : count + len(chunk)] = chunk
                count += len(chunk)
                if condition is not None:
                    conditions.append(condition)
                for name in fields:
                    fields[name].append(more[0][name])
                bar.update(bar.task_ids[0], completed=count)
        if (seconds := time.monotonic() - start) > SLOW:
            print(
                f"reading the images took {seconds:.0f} s; `{self.command}` saves this time, with "
                f"data.use={'images' if self.frames is None else 'videos'} and data.path=FILE",
                file=sys.stderr,
                flush=True,
            )
        condition = torch.cat(conditions) if conditions else None
        if not fields:
            return images[:count], condition
        return images[:count], condition, {name: torch.cat(chunks) for name, chunks in fields.items()}

    def stream(self) -> Iterator[Loaded]:
        """Decode the images, and yield images, their condition and their fields in chunks.

        The data are the same as in `load`.

        Raises:
            InputError: too many files are unusable, a class has no usable file, values are outside of the range, or
                files were added or removed since they were listed.
        """
        listing, outcome = self.listing, Outcome(self.path, self.listing, self.bad_limit, self.things)
        image_bytes = self.dtype.itemsize * math.prod(self.shape)
        chunk_size = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // image_bytes))
        images: list[Tensor] = []
        indices: list[int] = []

        def chunk() -> Loaded:
            fields = listing.fields_of(indices)
            rows = torch.stack(images), listing.rows_of(indices)
            return (*rows, fields) if fields else rows

        with self.open() as files:
            names = as_listed(files.names(), listing, self.path)
            decoded_files = decode_all(
                names, files.open, self.size, self.channels, self.crop, self.value_range, self.frames
            )
            with closing(decoded_files):
                for file, image, peak in decoded_files:
                    if isinstance(image, RangeError):
                        raise InputError(f"value_range: {self.path}: {file} has {image}")
                    if isinstance(image, ImageError):
                        outcome.add_unusable(file, image)
                        continue
                    outcome.add(listing.class_of(file), peak)
                    images.append(image)
                    if (index := listing.index_of(file)) is not None:
                        indices.append(index)
                    if len(images) == chunk_size:
                        yield chunk()
                        images, indices = [], []
        outcome.finish()
        if images:
            yield chunk()


class Outcome:
    """Record of the decoded images and of the unusable files, for messages to the user.

    Args:
        path: folder or zip file of the images.
        listing: listing of the image files in `path`.
        limit: largest accepted proportion of unusable files. None if all files must be usable.
        things: word for the samples in messages: images or clips.
    """

    def __init__(self, path: Path, listing: Listing, limit: float | None, things: str = "images") -> None:
        self.path, self.listing, self.limit, self.things = path, listing, limit, things
        self.allowed = max(ALWAYS_ALLOWED, int(limit * listing.total)) if limit else 0
        self.taken = self.unusable = 0
        self.named: list[str] = []
        self.empty_classes = set(listing.class_names if listing.classes is None else listing.classes.values())
        self.sixteen_bits = self.peak = 0

    def add(self, class_name: str | None, peak: int | None) -> None:
        """Count a decoded image. `peak` is the largest value of a 16-bit image, and None for other images."""
        self.taken += 1
        if class_name is not None:
            self.empty_classes.discard(class_name)
        if peak is not None:
            self.sixteen_bits += 1
            self.peak = max(self.peak, peak)

    def add_unusable(self, file: str, error: ImageError) -> None:
        """Count an unusable file. Raise `InputError` if too many files are unusable."""
        self.unusable += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"{file} ({error})")
        if self.limit is None:
            raise InputError(f"path: {self.path}: {self._names()} cannot be used; get this file again")
        if self.unusable > self.allowed:
            raise InputError(
                f"path: more than {self.allowed} of the {self.listing.total} {self.things} in {self.path} cannot be "
                f"used: {self._names()}; remove them, or raise data.bad_limit from {self.limit:g}"
            )

    def finish(self) -> None:
        """Print messages about skipped files, folders that may not be classes, and dark images.

        Raises:
            InputError: no file is usable, or a class has no usable file.
        """
        if self.empty_classes or not self.taken:
            some = f"of class {', '.join(sorted(self.empty_classes))} " if self.taken else ""
            raise InputError(f"path: none of the {self.things} {some}in {self.path} can be used: {self._names()}")
        messages = list(self.listing.messages)
        if self.unusable:
            messages.append(f"skipped {self.unusable} of the {self.listing.total} {self.things}: {self._names()}")
        if self.sixteen_bits and 0 < self.peak <= MAXIMUM // 2:
            bits = self.peak.bit_length()
            messages.append(
                f"the largest 16-bit value in {self.sixteen_bits} images is {self.peak}, so they are dark; if the "
                f"values have {bits} bits, multiply them by {2 ** (16 - bits)} to use all 16 bits"
            )
        for message in messages:
            print(f"{self.path}: {message}", file=sys.stderr, flush=True)

    def _names(self) -> str:
        rest = self.unusable - len(self.named)
        return ", ".join(self.named) + (f" and {rest} more" if rest > 0 else "")
