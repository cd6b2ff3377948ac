"""Datasets in the format of MNIST. Each split (train, test) has an idx file of images and an idx file of labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from gankit import ClassCondition, Dataset, InputError, RecipePath, Settings
from gankit_plugins.data.download import fetch
from gankit_plugins.data.idx import idx_shape, read_idx
from gankit_plugins.data.standard_datasets import VARIABLE, data_folders

SIDE = 28
CHUNK = 1000
"""Number of images that are resized together. A small number limits the memory use."""

PER_CLASS = "use only this many images of each class, the first in the order of the files; default: all"
"""Description of the setting `per_class`."""


class IdxSettings(Settings):
    """Settings that all datasets in the format of MNIST share."""

    folder: RecipePath | None = Field(
        None,
        description="folder of the idx files, compressed (.gz) or not; default: the folder of this plugin's name in "
        "$GANKIT_DATA, then in ~/.cache/gankit",
    )
    download: bool = Field(False, description="whether to download missing files into folder or ~/.cache/gankit")
    split: Literal["train", "test"] = Field("train", description="60,000 training images or 10,000 test images")
    classes: tuple[int, ...] | None = Field(
        None, min_length=1, description="use only these of the classes 0 to 9; they become 0, 1, ... in this order"
    )
    per_class: int | None = Field(None, ge=1, description=PER_CLASS)
    resolution: int = Field(SIDE, ge=4, le=1024, description="height and width; images are resized if it is not 28")

    @field_validator("classes")
    @classmethod
    def _once_each(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return check_classes(classes)


@dataclass(frozen=True)
class Collection:
    """Description of a dataset in MNIST's idx format: names, download mirrors, and MD5 digests of the files."""

    name: str
    """Name of the plugin and of its folder in $GANKIT_DATA."""

    raw: str
    """Name of torchvision's folder for this dataset. The files are in the subfolder `raw` of this folder."""

    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    """MD5 digests of the four compressed files, by file name."""

    def dataset(self, settings: IdxSettings) -> Dataset:
        """Return the dataset of one split. Its `load` reads the files, and downloads them if `download` is true.

        Before `load` is called, only the headers of existing files are read.

        Raises:
            InputError: files are missing and `download` is false, or the images and labels do not match.
        """
        classes = settings.classes or tuple(range(10))
        names = tuple(self.class_names[label] for label in classes)
        files = self.find(settings)
        if files is not None:
            check_headers(*files)
        elif not settings.download:
            images, labels = _stems(settings.split)
            folders = " or ".join(str(folder) for folder in self._folders(settings))
            raise InputError(
                f"{self.name}: the files {images} and {labels} (compressed, .gz, or not) are not in {folders}; set "
                f"`folder` or the variable {VARIABLE} to their folder, or download them with `download = true`"
            )

        def load() -> tuple[Tensor, Tensor]:
            images, labels = read_pair(*(files or self.download(settings)))
            images, labels = select_classes(images, labels, classes)
            images, labels = first_of_each_class(images, labels, names, settings.per_class)
            return resize(images, settings.resolution), labels

        return Dataset((1, settings.resolution, settings.resolution), ClassCondition(names), load)

    def find(self, settings: IdxSettings) -> tuple[Path, Path] | None:
        """Return the paths of the image file and the label file, from the first folder that has both.

        Return None if no folder has both.
        """
        pairs = ([_find(folder, stem) for stem in _stems(settings.split)] for folder in self._folders(settings))
        return next(((images, labels) for images, labels in pairs if images and labels), None)

    def download(self, settings: IdxSettings) -> tuple[Path, Path]:
        """Download the missing files of a split. Return the paths of its image file and label file."""
        folder = self._folders(settings)[-1]
        images, labels = (
            _find(folder, stem) or fetch(f"{stem}.gz", self.mirrors, self.md5[f"{stem}.gz"], folder)
            for stem in _stems(settings.split)
        )
        return images, labels

    def _folders(self, settings: IdxSettings) -> list[Path]:
        if settings.folder is not None:
            return [settings.folder]
        # Each dataset has its own subfolder, because the files of MNIST and Fashion-MNIST have the same names.
        return data_folders(self.name, f"{self.raw}/raw")


def check_classes(classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the setting `classes` unchanged. Raise ValueError if a number is not from 0 to 9, or occurs twice."""
    if classes is not None and (len(set(classes)) < len(classes) or not set(classes) <= set(range(10))):
        raise ValueError("the classes are 0 to 9, and each may be listed once")
    return classes


def check_headers(images: Path, labels: Path) -> None:
    """Check the headers of an idx file of images and an idx file of labels.

    Raises:
        InputError: the images are not 28x28, or the number of labels differs from the number of images.
    """
    image_shape, label_shape = idx_shape(images), idx_shape(labels)
    if len(image_shape) != 3 or image_shape[1:] != (SIDE, SIDE):
        raise InputError(f"{images}: has values of shape {image_shape}; it must have images of 28x28")
    if label_shape != image_shape[:1]:
        raise InputError(
            f"{labels}: has values of shape {label_shape}; it must have a label for each of the {image_shape[0]} "
            f"images in {images.name}"
        )


def read_pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Read an image file and a label file. Return images (N, 1, 28, 28) uint8 and labels (N,) int64.

    Raises:
        InputError: a file cannot be read, the files do not match, or a label is greater than 9.
    """
    check_headers(images, labels)
    values, classes = read_idx(images)[:, None], read_idx(labels).long()
    if len(classes) and classes.max() > 9:
        raise InputError(f"{labels}: has the label {int(classes.max())}; the classes are 0 to 9")
    return values, classes


def select_classes(images: Tensor, labels: Tensor, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return only the images and labels of the given classes. The label `classes[k]` becomes k.

    Args:
        images: (N, ...).
        labels: (N,) int64, from 0 to 9.
        classes: labels of the classes to return, without duplicates.
    """
    new_label = torch.full((10,), -1)
    new_label[list(classes)] = torch.arange(len(classes))
    labels = new_label[labels]
    if len(classes) == 10:
        return images, labels
    return images[labels >= 0], labels[labels >= 0]


def first_of_each_class(
    images: Tensor, labels: Tensor, names: tuple[str, ...], count: int | None
) -> tuple[Tensor, Tensor]:
    """Return the first `count` images of each class, and their labels. If `count` is None, return all images.

    The images have the shape (N, ...) and the labels (N,). `names` are the names of the classes, for the error message.

    Raises:
        InputError: a class has fewer than `count` images.
    """
    if count is None:
        return images, labels
    found = labels.bincount(minlength=len(names))
    if (fewest := int(found.min())) < count:
        raise InputError(
            f"data.per_class: {count} given, and the class {names[int(found.argmin())]} has only {fewest}; give at "
            "most that many, or choose other classes in data.classes"
        )
    chosen = torch.cat([(labels == k).nonzero().flatten()[:count] for k in range(len(names))]).sort().values
    return images[chosen], labels[chosen]


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images (N, C, H, W) uint8 to (N, C, resolution, resolution), bilinearly with antialiasing."""
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
    """Return the path of the file with the name `stem` or `stem`.gz. Return None if the folder has no such file.

    In some archives, file names have a dot instead of a hyphen before `idx`. This function also finds such files.
    """
    names = [name + ending for name in (stem, stem.replace("-idx", ".idx")) for ending in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)
