"""Description of a dataset: shape of a sample, condition, and the function that loads the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.plugin.condition import KINDS, Condition, values_mistake

Loaded = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Mapping[str, Tensor]]
"""Return value of a function that loads samples: `(images, condition)` or `(images, condition, fields)`."""


class Fields(dict[str, Tensor]):
    """Dictionary of a dataset's further tensors by name, such as masks. Access to an unknown name raises InputError."""

    def __missing__(self, name: str) -> Tensor:
        there = f"they have {', '.join(self)}" if self else "they have none; choose data with this field"
        raise InputError(f"the data have no field {name!r}; {there}")


class Rows(NamedTuple):
    """Samples of a dataset, their condition, and further tensors. Row i of each tensor belongs to sample i."""

    images: Tensor
    """Images or other samples, (N, *shape)."""

    condition: Tensor | None = None
    """Condition of the samples: class indices (N,), vectors (N, K), token indices (N, T) or images (N, C, H, W).

    None for data without a condition.
    """

    fields: Mapping[str, Tensor] = MappingProxyType({})
    """Further tensors (N, ...) by name, such as sample weights or masks."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """Apply a function to each tensor, and return the results as a new `Rows` object."""
        condition = None if self.condition is None else function(self.condition)
        fields = Fields({name: function(one) for name, one in self.fields.items()})
        return Rows(function(self.images), condition, fields)

    def tensors(self) -> list[Tensor]:
        """Return all tensors as a list: the images, the condition (unless it is None), and the tensors in `fields`."""
        return [self.images, *([] if self.condition is None else [self.condition]), *self.fields.values()]

    def slice(self, begin: int, end: int) -> Rows:
        """Return the rows with the indices `begin` to `end` - 1."""
        return self.map(lambda tensor: tensor[begin:end])


@dataclass(frozen=True)
class FileFacts:
    """Facts about an image file, before it is cropped and resized."""

    name: str
    digest: bytes
    """Hash of the content of the file. Files with the same content have the same hash."""

    class_name: str | None = None
    size: tuple[int, int] | None = None
    """Width and height in pixels. None if they cannot be read."""

    mode: str = ""
    """Pillow's name of the image mode, such as `RGB`. Empty if it cannot be read."""

    grey: bool = False
    """True if all pixels are grey, also in a file with colour channels."""

    transparent: bool = False
    """True if the image has an alpha channel or a transparent colour."""

    highest: int | None = None
    """Largest value of a grey image with more than 8 bits for each pixel. None for other images."""

    error: str | None = None
    """Reason why the file cannot be used, or None."""


@dataclass(frozen=True)
class Dataset:
    """Description of a dataset: samples, such as images, and their condition. The hook `load_data` returns a `Dataset`.

    The description does not contain the images. The function `load` reads the images after the networks are built.
    Therefore, gankit can check a recipe and build the networks before any image is read.
    """

    shape: tuple[int, ...]
    """Shape of a sample, without the batch dimension.

    Examples: (C, H, W) for an image, (C, L) for audio, (F,) for a row of a table.
    """

    condition: Condition | None
    """Condition of the samples, such as `ClassCondition(("cat", "dog"))`. None for data without a condition."""

    load: Callable[[], Loaded]
    """Function that returns `(images, condition)`, or `(images, condition, fields)` if `self.fields` is not empty.

    `images` is a tensor (N, *shape) on the CPU, and may be memory-mapped. gankit scales uint8 values in [0, 255] and
    uint16 values in [0, 65535] to [-1, 1]. Floating-point values must be in [-1, 1], and are used unchanged.

    `condition` is a tensor with one row for each sample, as `self.condition` describes, or None. `fields` is a dict
    with a tensor (N, ...) for each name in `self.fields`. These tensors may have any data type, and are used unchanged.
    The function raises `InputError` if a file cannot be used.
    """

    stream: Callable[[], Iterator[Loaded]] | None = None
    """Optional function that yields the same data as the function `load`, in the same order, but in chunks.

    `gankit prepare`, which writes the dataset to one file, then needs memory for only one chunk of images at a time.
    """

    at_most: int | None = None
    """Upper bound on the number of images that `stream` yields. Required if `stream` is set."""

    note: str = ""
    """Text about the processing of the original images, such as cropping.

    `gankit prepare` stores this text in the file that it writes.
    """

    contents: str = ""
    """Text about the number of images and about unused files. Commands show this text beside the image size."""

    fields: tuple[str, ...] = ()
    """Names of further tensors of the samples, such as masks.

    In a training step, `step.fields` contains these tensors for the real images.
    """

    encoding: Mapping[str, Any] = field(default_factory=dict)
    """Description of how the samples encode the original data, such as the columns of a table, as a JSON object.

    The description contains only dicts with string keys, lists, strings, numbers, booleans and None. Generator files
    and files of prepared data contain it. The fields `Spec.encoding` and `Samples.encoding` give plugins access to it.
    """

    inspect: Callable[[], Iterator[FileFacts]] | None = None
    """Optional function that yields facts about each image file, in the order of the samples. None for other data."""

    def __post_init__(self) -> None:
        sides = self.shape if isinstance(self.shape, tuple) else ()
        if not sides or not all(type(side) is int and side >= 1 for side in sides):
            raise InputError(
                f"the data plugin returns Dataset({self.shape!r}, ...); the first argument is the shape of a sample, "
                "a tuple such as (3, 32, 32)"
            )
        if self.condition is not None and type(self.condition) not in KINDS.values():
            raise InputError(
                f"the data plugin returns Dataset(..., {self.condition!r}, ...); the second argument is a condition, "
                'such as ClassCondition(("cat", "dog")), or None'
            )

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return self.shape[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels. Empty if the condition is not a class."""
        return () if self.condition is None else self.condition.class_names

    def read(self) -> Rows:
        """Load the samples, and check that they match this description.

        Raises:
            InputError: the samples do not match the description, or a file cannot be used.
        """
        return checked(self, self.load())

    def read_chunks(self) -> Iterator[Rows]:
        """Yield the chunks of samples from the function `stream`. Check each chunk as `read` does."""
        assert self.stream is not None, "the dataset has no stream"
        for loaded in self.stream():
            yield checked(self, loaded)


def checked(dataset: Dataset, loaded: Loaded) -> Rows:
    """Check that loaded samples match the description of their dataset, and return them as a `Rows` object.

    Raises:
        InputError: the shape, data type, values, condition or fields differ from the description.
    """
    rows = Rows(*loaded) if isinstance(loaded, tuple) and len(loaded) in (2, 3) else None
    if rows is None or not all(isinstance(one, Tensor) and one.dim() for one in _tensors(rows)):
        raise InputError(
            f"the data plugin loads {type(loaded).__name__}; it must load a tuple (images, condition) or "
            "(images, condition, fields), with tensors, or None for no condition"
        )
    images, condition = rows.images, rows.condition
    if images.shape[1:] != dataset.shape:
        raise _mismatch(f"the images have shape {tuple(images.shape)}", f"(N, {', '.join(map(str, dataset.shape))})")
    if not len(images):
        raise InputError("the data plugin has loaded no images")
    if wrong := values_mistake(images):
        raise _mismatch(f"the images have {wrong[0]}", f"images with {wrong[1]}")
    if condition is None or dataset.condition is None:
        if condition is not dataset.condition:
            described = "no condition" if dataset.condition is None else dataset.condition.describe()
            raise _mismatch("there is no condition" if condition is None else "there is a condition", described, "it")
    elif len(condition) != len(images):
        raise InputError(f"the data plugin has loaded {len(images)} images, and a condition of {len(condition)} rows")
    elif wrong := dataset.condition.mistake(condition):
        raise _mismatch(f"the condition {wrong[0]}", wrong[1], "it")
    if set(rows.fields) != set(dataset.fields):
        raise _mismatch(f"the fields are {_names(rows.fields)}", _names(dataset.fields))
    for name, one in rows.fields.items():
        if len(one) != len(images):
            raise InputError(f"the data plugin has loaded {len(images)} images, and {len(one)} rows of {name!r}")
    return rows


def _tensors(rows: Rows) -> list[object]:
    """Return the loaded values that should be tensors: images, condition and fields."""
    fields = rows.fields.values() if isinstance(rows.fields, Mapping) else [None]
    return [rows.images, *([] if rows.condition is None else [rows.condition]), *fields]


def _names(fields: Mapping[str, Tensor] | tuple[str, ...]) -> str:
    return ", ".join(sorted(fields)) or "none"


def _mismatch(found: str, described: str, them: str = "them") -> InputError:
    return InputError(f"{found}, but the data plugin describes {them} as {described}")


def to_eight_bits(images: Tensor) -> Tensor:
    """Convert uint16 images to uint8: divide the values by 257 and round. Return all other images unchanged."""
    if images.dtype != torch.uint16:
        return images
    return ((images.to(torch.int32) + 128) // 257).to(torch.uint8)


def in_eight_bits(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` converts uint16 images to uint8. Metrics compare images in 8 bits."""

    def load() -> Loaded:
        images, *others = dataset.load()
        return to_eight_bits(images), *others

    return replace(dataset, load=load)


def loaded_once(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` reads the samples only once. Later calls return the same tensors."""
    return replace(dataset, load=cache(dataset.load))
