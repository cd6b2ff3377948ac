"""Images that a game is played for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    labels or None. Raises InputError for files that cannot be used."""
