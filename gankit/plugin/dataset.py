"""Images that a game is played for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Square images and their labels, known by shape before a single one is read.

    What `load_data` returns. `load` is called once, when training begins, so that a recipe can be checked
    and a network built without reading the images.
    """

    channels: int
    resolution: int
    class_names: tuple[str, ...]
    """One name for each class, in the order of the labels; empty when the images have no labels."""

    load: Callable[[], tuple[Tensor, Tensor | None]]
    """To (N, channels, resolution, resolution) uint8 on the CPU, which may be memory-mapped, and (N,) int64
    labels or None. What is no picture may be floating point instead, in [-1, 1], and is used as it is. Raises
    InputError for files that cannot be used."""

    stream: Callable[[], Iterator[tuple[Tensor, Tensor | None]]] | None = None
    """What `load` gives, in the same order, in chunks of (n, channels, resolution, resolution) and (n,), so that
    `gankit prepare` needs no more memory for a million images than for a thousand, but for their labels. None: there
    is only `load`."""

    at_most: int | None = None
    """How many images `stream` will give if every file turns out to be usable. It goes with `stream`."""

    note: str = ""
    """How the images were made from what they were read from: crop, filter. For the record."""


def loaded_once(dataset: Dataset) -> Dataset:
    """A dataset that reads its images when they are first asked for, and hands out the same ones from then on."""
    return replace(dataset, load=cache(dataset.load))
