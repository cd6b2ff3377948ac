"""Collections of images laid out as MNIST is: two idx files for training, two for testing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from gankit import Dataset, InputError, Settings
from gankit_plugins.data.download import fetch
from gankit_plugins.data.idx import idx_shape, read_idx
from gankit_plugins.data.paths import absolute

SIDE = 28
CHUNK = 1000
"""Images resized at once."""

CACHE = Path("~/.cache/gankit")
VARIABLE = "GANKIT_DATA"


class IdxSettings(Settings):
    """The settings of every such collection."""

    folder: Path | None = Field(
        None,
        description="where the idx files lie, packed (.gz) or not; by default in $GANKIT_DATA, in the folder of this "
        "plugin's name, then in ~/.cache/gankit",
    )
    download: bool = Field(False, description="fetch what is missing from the web, into folder or ~/.cache/gankit")
    split: Literal["train", "test"] = Field("train", description="60,000 images to train on or 10,000 to test with")
    classes: tuple[int, ...] | None = Field(
        None, min_length=1, description="keep only these of the classes 0 to 9; they become 0, 1, ... in this order"
    )
    resolution: int = Field(SIDE, ge=4, le=1024, description="height and width; other than 28, images are resized")

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return None if folder is None else absolute(folder)

    @field_validator("classes")
    @classmethod
    def _once_each(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("each class can be named once")
        if classes is not None and not set(classes) <= set(range(10)):
            raise ValueError("there are the classes 0 to 9")
        return classes


@dataclass(frozen=True)
class Collection:
    """What sets one collection apart from the others."""

    name: str
    """The plugin's, and that of the folder looked for in $GANKIT_DATA."""

    raw: str
    """The folder that torchvision keeps its `raw` files in."""

    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    """Of the four packed files, by their names at the mirrors."""

    def dataset(self, settings: IdxSettings) -> Dataset:
        """The images of one split. Reads headers only, and downloads nothing before the images are loaded.

        Raises:
            InputError: files are missing and not to be downloaded, or do not belong together.
        """
        kept = settings.classes or tuple(range(10))
        names = tuple(self.class_names[label] for label in kept)
        files = self.find(settings)
        if files is not None:
            check_headers(*files)
        elif not settings.download:
            raise InputError(self._missing(settings))

        def load() -> tuple[Tensor, Tensor]:
            images, labels = read_pair(*(files or self.download(settings)))
            images, labels = keep_classes(images, labels, kept)
            return resize(images, settings.resolution), labels

        return Dataset(1, settings.resolution, names, load)

    def find(self, settings: IdxSettings) -> tuple[Path, Path] | None:
        """The images' and the labels' file, from the first folder that has both."""
        pairs = ([_find(folder, stem) for stem in _stems(settings.split)] for folder in self._folders(settings))
        return next(((images, labels) for images, labels in pairs if images and labels), None)

    def download(self, settings: IdxSettings) -> tuple[Path, Path]:
        """Fetches what is missing; returns the images' and the labels' file.

        Raises:
            GankitError: no mirror gives a file, or it cannot be written.
        """
        folder = settings.folder or self._cache()
        images, labels = (
            _find(folder, stem) or fetch(f"{stem}.gz", self.mirrors, self.md5[f"{stem}.gz"], folder)
            for stem in _stems(settings.split)
        )
        return images, labels

    def _folders(self, settings: IdxSettings) -> list[Path]:
        if settings.folder is not None:
            return [settings.folder]
        shared = os.environ.get(VARIABLE)
        # Never in $GANKIT_DATA itself: MNIST's files and Fashion-MNIST's bear the same names.
        below = (self.name, f"{self.raw}/raw")
        return [*(Path(shared, folder) for folder in below if shared), self._cache()]

    def _cache(self) -> Path:
        return CACHE.expanduser() / self.name

    def _missing(self, settings: IdxSettings) -> str:
        images, labels = _stems(settings.split)
        looked = " or ".join(str(folder) for folder in self._folders(settings))
        return (
            f"{self.name}: there are no files {images} and {labels} (packed, .gz, or not) in {looked}; say where they "
            f"lie with the setting `folder` or the variable {VARIABLE}, or have them fetched with `download = true`"
        )


def check_headers(images: Path, labels: Path) -> None:
    """Raises InputError when two idx files are not images of 28x28 and one label for each of them."""
    of_images, of_labels = idx_shape(images), idx_shape(labels)
    if len(of_images) != 3 or of_images[1:] != (SIDE, SIDE):
        raise InputError(f"{images}: holds values of shape {_in_words(of_images)}, not images of 28 x 28")
    if of_labels != of_images[:1]:
        raise InputError(
            f"{labels}: holds values of shape {_in_words(of_labels)}, not one label for each of the "
            f"{of_images[0]} images in {images.name}"
        )


def read_pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """(N, 1, 28, 28) uint8 and (N,) int64.

    Raises:
        InputError: a file is damaged, they do not belong together, or a label is not in 0 to 9.
    """
    check_headers(images, labels)
    values, marks = read_idx(images)[:, None], read_idx(labels).long()
    if len(marks) and marks.max() > 9:
        raise InputError(f"{labels}: has the label {int(marks.max())}; there are the classes 0 to 9")
    return values, marks


def keep_classes(images: Tensor, labels: Tensor, kept: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Only what is of the classes `kept`, in the order in which it was; class `kept[k]` becomes k.

    Args:
        images: (N, ...).
        labels: (N,) int64, each in 0 to 9.
        kept: classes, unique.
    """
    renamed = torch.full((10,), -1)
    renamed[list(kept)] = torch.arange(len(kept))
    labels = renamed[labels]
    if len(kept) == 10:
        return images, labels
    return images[labels >= 0], labels[labels >= 0]


def resize(images: Tensor, resolution: int) -> Tensor:
    """(N, C, R, R) uint8 to (N, C, resolution, resolution), bilinear with antialiasing."""
    if images.shape[-1] == resolution:
        return images
    resized = images.new_empty(*images.shape[:2], resolution, resolution)
    for source, target in zip(images.split(CHUNK), resized.split(CHUNK), strict=True):
        scaled = F.interpolate(source.float(), (resolution, resolution), mode="bilinear", antialias=True)
        target.copy_(scaled.round().clamp(0, 255))
    return resized


def _stems(split: str) -> tuple[str, str]:
    prefix = "train" if split == "train" else "t10k"
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _find(folder: Path, stem: str) -> Path | None:
    """Some archives unpack to a dot in place of the hyphen before `idx`."""
    names = [name + ending for name in (stem, stem.replace("-idx", ".idx")) for ending in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single value"
