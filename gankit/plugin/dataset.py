"""Description of the images that a run trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Description of square images and their labels. The hook `load_data` returns it.

    The images are read by `load`, which is called once, when training begins. A recipe can be checked and a network
    built without the images.
    """

    channels: int
    resolution: int
    class_names: tuple[str, ...]
    """One name for each class, in the order of the labels. Empty if the images have no labels."""

    load: Callable[[], tuple[Tensor, Tensor | None]]
    """Function that returns the images and their labels.

    Images: (N, channels, resolution, resolution) uint8 on the CPU, possibly memory-mapped. Data that are not images may
    be floating point in [-1, 1], and are used unchanged. Labels: (N,) int64, or None. The function raises `InputError`
    for files that cannot be used.
    """

    stream: Callable[[], Iterator[tuple[Tensor, Tensor | None]]] | None = None
    """Function that yields the result of `load` in chunks of n images and their labels (n,), in the same order.

    With `stream`, `gankit prepare` holds only one chunk of images in memory. None if there is only `load`.
    """

    at_most: int | None = None
    """Largest number of images that `stream` can yield. Required with `stream`."""

    note: str = ""
    """Processing of the source images, such as cropping. `gankit prepare` records it."""


def loaded_once(dataset: Dataset) -> Dataset:
    """Return a dataset whose `load` reads the images once and returns the same tensors at every call."""
    return replace(dataset, load=cache(dataset.load))
