"""Description of a dataset: image size, class names, and the function that loads the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Description of a dataset of square images and their labels. The hook `load_data` returns it.

    The description does not contain the images. The function `load` reads them, after the networks are built.
    Therefore, gankit can check a recipe and build its networks without the images.
    """

    channels: int
    resolution: int
    class_names: tuple[str, ...]
    """One name for each class, in the order of the labels. Empty if the images have no labels."""

    load: Callable[[], tuple[Tensor, Tensor | None]]
    """Function that returns the images and their labels.

    Images: (N, channels, resolution, resolution) uint8 on the CPU, possibly memory-mapped. Other data, such as 2D
    points, may be floating point in [-1, 1]. They are used unchanged. Labels: class indices (N,) int64, or None. The
    function raises `InputError` if a file cannot be used.
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


def loaded_once(dataset: Dataset) -> Dataset:
    """Return a copy of the dataset whose `load` reads the images only once. Later calls return the same tensors."""
    return replace(dataset, load=cache(dataset.load))
