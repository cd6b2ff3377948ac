"""Description of the images that a run trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Description of a dataset of square images and their labels. The hook `load_data` returns it.

    The function `load` reads the images. It is called only once, when training begins, so that recipes can be checked
    and networks built without the images.
    """

    channels: int
    resolution: int
    class_names: tuple[str, ...]
    """One name for each class, in the order of the labels. Empty if the images have no labels."""

    load: Callable[[], tuple[Tensor, Tensor | None]]
    """Function that returns the images and their labels.

    Images: (N, channels, resolution, resolution) uint8 on the CPU, possibly memory-mapped. Data that are not images may
    be floating point in [-1, 1]; they are used unchanged. Labels: class indices (N,) int64, or None. The function
    raises `InputError` if a file cannot be used.
    """

    stream: Callable[[], Iterator[tuple[Tensor, Tensor | None]]] | None = None
    """Function that yields the images and labels in chunks, in the order of `load`. None if there is no such function.

    A chunk is a pair: n images, and their labels (n,) or None. If `stream` is set, `gankit prepare` holds only one
    chunk in memory at a time.
    """

    at_most: int | None = None
    """Upper limit for the number of images that `stream` yields. Required if `stream` is set."""

    note: str = ""
    """Description of how the source images were processed, such as cropping. `gankit prepare` stores it in the file."""


def loaded_once(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` reads the images only once. Later calls return the same tensors."""
    return replace(dataset, load=cache(dataset.load))
