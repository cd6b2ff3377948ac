"""Description of a dataset: shape of a sample, class names, and the function that loads the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.formatting import plural


@dataclass(frozen=True)
class Dataset:
    """Description of a dataset of images, or of other samples, and their labels. The hook `load_data` returns it.

    The description does not contain the images. The function `load` reads them, after the networks are built.
    Therefore, gankit can check a recipe and build its networks without the images.
    """

    shape: tuple[int, ...]
    """Shape of a sample, without the batch: (C, H, W) for an image, (C, L) for audio, (F,) for a row of a table."""

    class_names: tuple[str, ...]
    """One name for each class, in the order of the labels. Empty if the images have no labels."""

    load: Callable[[], tuple[Tensor, Tensor | None]]
    """Function that returns the images and their labels.

    Images: (N, *shape) on the CPU, possibly memory-mapped. Their values are uint8 in [0, 255] or uint16 in [0, 65535],
    which become [-1, 1], or floating point in [-1, 1], which are used unchanged. Labels: class indices (N,) int64, or
    None. The function raises `InputError` if a file cannot be used.
    """

    stream: Callable[[], Iterator[tuple[Tensor, Tensor | None]]] | None = None
    """Optional function that yields the same images and labels as `load`, in the same order, but in chunks.

    A chunk is a pair: n images, and their labels (n,) or None. `gankit prepare`, which writes the dataset to one file,
    then needs memory for only one chunk at a time.
    """

    at_most: int | None = None
    """Upper bound on the number of images that `stream` yields. Required if `stream` is set."""

    note: str = ""
    """Text that says how the source images were processed, such as cropping. `gankit prepare` stores it in its file."""

    contents: str = ""
    """Text about the number of images and the files that are not used. Commands show it beside the image size."""

    def __post_init__(self) -> None:
        sides = self.shape if isinstance(self.shape, tuple) else ()
        if not sides or not all(type(side) is int and side >= 1 for side in sides):
            raise InputError(
                f"the data plugin returns Dataset({self.shape!r}, ...); the first argument is the shape of a sample, "
                "a tuple such as (3, 32, 32)"
            )

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return self.shape[0]

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Load the images and labels, and check that they match the description.

        Raises:
            InputError: they do not match, or a file cannot be used.
        """
        loaded = self.load()
        if not (isinstance(loaded, tuple) and len(loaded) == 2 and isinstance(loaded[0], Tensor)):
            raise InputError(f"the data plugin loads {type(loaded).__name__}; it must load a tuple (images, labels)")
        return checked(self, *loaded)

    def read_chunks(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the images and labels of `stream` in chunks, and check each chunk as `read` does."""
        assert self.stream is not None, "the dataset has no stream"
        for images, labels in self.stream():
            yield checked(self, images, labels)


def checked(dataset: Dataset, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return images and labels unchanged if they match the description of their dataset.

    Raises:
        InputError: shape, data type, values or labels differ from the description.
    """
    if images.shape[1:] != dataset.shape:
        raise _mismatch(f"the images have shape {tuple(images.shape)}", f"(N, {', '.join(map(str, dataset.shape))})")
    if not len(images):
        raise InputError("the data plugin has loaded no images")
    if images.dtype not in (torch.uint8, torch.uint16):
        if not images.is_floating_point():
            raise _mismatch(f"the images are {images.dtype}", "uint8, uint16, or floating point from -1 to 1")
        low, high = images.min().item(), images.max().item()
        if not -1 <= low <= high <= 1:
            raise _mismatch(f"the images have values from {low:g} to {high:g}", "floating point from -1 to 1")
    if (labels is None) == bool(dataset.class_names):
        described_labels = plural(len(dataset.class_names), "class", "classes") if dataset.class_names else "no classes"
        raise _mismatch("there are no labels" if labels is None else "there are labels", described_labels)
    if labels is not None:
        if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise _mismatch(f"the labels are {labels.dtype} of shape {tuple(labels.shape)}", f"int64 ({len(images)},)")
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= len(dataset.class_names):
            raise _mismatch(f"the labels are from {lowest} to {highest}", f"from 0 to {len(dataset.class_names) - 1}")
    return images, labels


def _mismatch(found: str, described: str) -> InputError:
    return InputError(f"{found}, but the data plugin describes them as {described}")


def to_eight_bits(images: Tensor) -> Tensor:
    """Return uint16 images as uint8, with 257 values for each new one. Other images are returned as they are."""
    if images.dtype != torch.uint16:
        return images
    return ((images.to(torch.int32) + 128) // 257).to(torch.uint8)


def in_eight_bits(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` returns uint8 instead of uint16. Metrics compare images in 8 bits."""

    def load() -> tuple[Tensor, Tensor | None]:
        images, labels = dataset.load()
        return to_eight_bits(images), labels

    return replace(dataset, load=load)


def loaded_once(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` reads the images only once. Later calls return the same tensors."""
    return replace(dataset, load=cache(dataset.load))
