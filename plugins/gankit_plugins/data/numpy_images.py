"""Dataset of images in a NumPy file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gankit import ClassCondition, Dataset, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.brightness import Limits
from gankit_plugins.data.images import CHUNK_BYTES, SMALLEST
from gankit_plugins.data.labels import ClassNames, number_classes
from gankit_plugins.data.listing import shortened
from gankit_plugins.data.numpy_files import Array, StoredArray, list_arrays
from gankit_plugins.data.value_range import (
    ValueRange,
    check_range,
    is_unchanged,
    range_of,
    to_unit_range,
)

Layout = Literal["NHWC", "NCHW"]
Split = Literal["train", "val", "test"]

MAX_CHANNELS = 4
"""Largest number of channels that is recognised without the setting `layout`."""


class NumpyImages(Plugin):
    """Your own images, in an array in a `.npy` or `.npz` file, such as a file of MedMNIST.

    The images have the shape (N, H, W), (N, H, W, C) or (N, C, H, W). If exactly one of the second and the last
    dimension is at most 4, this dimension has the channels. Otherwise, the setting `layout` is needed. Images are not
    cropped or resized.

    The values are integers or floating-point numbers, and `value_range` is scaled to [-1, 1]. By default, the range is
    [0, 255] for uint8, [0, 65535] for uint16 and [0, 1] for floating-point numbers. Other integers need `value_range`.
    Values outside of the range are refused.

    In a `.npz` file, the images are the array `images`, and the labels are the array `labels`. By default, these are
    `train_images` and `train_labels` as in MedMNIST, `x_train` and `y_train` as in Keras, or `images` and `labels`. If
    the file has only one array, it has the images. With `split`, they are `test_images` or `x_test`, for example. For a
    `.npy` file, labels may be in a second `.npy` file, `labels_path`. Labels are integers or texts, (N,) or (N, 1).
    Their sorted values are the classes. With `class_names`, the labels are the numbers of these classes, from 0.

    A `.npy` file is memory-mapped if its values need no scaling (uint8 and uint16 with the default range, or float32
    with the range [-1, 1]). All other arrays are read into memory. Files with Python objects are refused, because
    these objects can execute code.

    Source: none; the names of the arrays are from Yang 2023, "MedMNIST v2".

    When to use: for scientific and medical images, and for arrays from your own programs.
    When not: for images of different sizes; use `images`. For arrays that need scaling and do not fit into memory, run
    `gankit prepare` first.
    """

    name = "numpy"
    kind = "data"

    class Config(Settings):
        path: RecipePath = Field(description="a .npy or .npz file")
        split: Split | None = Field(
            None, description="part of a .npz file with names such as train_images; default: train, if there are parts"
        )
        images: str | None = Field(
            None, description="name of the images in a .npz file; default: SPLIT_images, x_SPLIT or images"
        )
        labels: str | None = Field(
            None, description="name of the labels in a .npz file; default: SPLIT_labels, y_SPLIT or labels"
        )
        labels_path: RecipePath | None = Field(
            None, description="a .npy file with the labels, for images in a .npy file"
        )
        layout: Layout | None = Field(
            None, description="NHWC if the channels are last, NCHW if second; default: the one of them of at most 4"
        )
        value_range: ValueRange = None
        classes: bool | None = Field(
            None, description="false to ignore labels, true to require them; default: classes if there are labels"
        )
        class_names: ClassNames = None

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        arrays = list_arrays(config.path)
        images = find_images(arrays, config)
        labels = find_labels(arrays, images, config)
        stored = StoredImages(
            images,
            layout_of(images, config.layout),
            range_of(images.dtype, config.value_range, images),
            None if labels is None else read_labels(labels, images, config),
        )
        return stored.dataset()


def find_images(arrays: dict[str, StoredArray], config: NumpyImages.Config) -> StoredArray:
    """Return the array of the images in a NumPy file.

    Args:
        arrays: arrays in the file by their names, from `list_arrays`.
        config: settings of the plugin.

    Raises:
        InputError: the file has no array with the given name, or with one of the default names.
    """
    if "" in arrays:
        if key := next((key for key in ("images", "labels", "split") if getattr(config, key) is not None), None):
            raise InputError(f"{key}: {config.path} is a .npy file, which has one array without a name; remove {key}")
        return arrays[""]
    split = config.split or "train"
    names = (f"{split}_images", f"x_{split}", *(() if config.split else ("images",)))
    if config.images is None and config.split is None and len(arrays) == 1:
        names = tuple(arrays)
    return _find("images", config.images, names, arrays, config)


def find_labels(arrays: dict[str, StoredArray], images: StoredArray, config: NumpyImages.Config) -> StoredArray | None:
    """Return the array of the labels. Return None if there are no labels, or the setting `classes` is false.

    Raises:
        InputError: labels are required and missing.
    """
    if config.classes is False:
        return None
    if config.labels_path is not None:
        if not (stored := list_arrays(config.labels_path).get("")):
            raise InputError(f"labels_path: {config.labels_path} is not a .npy file; set data.labels to its array")
        return stored
    known = {f"{split}_images": f"{split}_labels" for split in ("train", "val", "test")} | {"images": "labels"}
    known |= {f"x_{split}": f"y_{split}" for split in ("train", "val", "test")}
    name = known.get(images.name, "labels")
    required = config.classes or config.class_names is not None
    if config.labels is None and name not in arrays and not required:
        return None
    if not images.name:
        raise InputError(f"classes: {config.path} has no labels; set data.labels_path to a .npy file of labels")
    return _find("labels", config.labels, (name,), arrays, config)


def _find(
    key: str, given: str | None, names: tuple[str, ...], arrays: dict[str, StoredArray], config: NumpyImages.Config
) -> StoredArray:
    """Return the array with the given name, or the first one of the default names if none is given."""
    wanted = names if given is None else (given,)
    if found := next((arrays[name] for name in wanted if name in arrays), None):
        return found
    raise InputError(
        f"{key}: {config.path} has no array {' or '.join(wanted)}; set data.{key} to one of its arrays: "
        f"{shortened(arrays) or 'there are none'}"
    )


def layout_of(images: StoredArray, layout: Layout | None) -> Layout | Literal["NHW"]:
    """Return the order of the dimensions of an array of images.

    Raises:
        InputError: the array does not have images, or the channels may be in two dimensions.
    """
    shape = images.shape
    found: Layout | Literal["NHW"]
    if len(shape) == 3 and layout is None:
        found = "NHW"
    elif len(shape) != 4:
        allowed = "(N, H, W), (N, H, W, C) or (N, C, H, W)" if layout is None else f"({', '.join(layout)})"
        raise InputError(f"path: {images} has shape {shape}, and images have shape {allowed}; reshape the array")
    elif layout is not None:
        found = layout
    else:
        second, last = shape[1] <= MAX_CHANNELS, shape[3] <= MAX_CHANNELS
        if second == last:
            reason = "both the second and the last" if second else "neither the second nor the last"
            raise InputError(
                f"layout: {images} has shape {shape}, and {reason} dimension may be the channels (at most "
                f"{MAX_CHANNELS}); set data.layout to NHWC or NCHW"
            )
        found = "NCHW" if second else "NHWC"
    height, width = (shape[found.index(letter)] for letter in "HW")
    if min(height, width) < SMALLEST or not shape[0]:
        raise InputError(
            f"path: {images} has shape {shape}, which is {shape[0]} images of {height} x {width} pixels; at least one "
            f"image of {SMALLEST} x {SMALLEST} is needed"
        )
    return found


def read_labels(labels: StoredArray, images: StoredArray, config: NumpyImages.Config) -> tuple[tuple[str, ...], Tensor]:
    """Return the class names, and the label of each image, (N,) int64.

    Raises:
        InputError: the labels are not N integers or texts, or a label is not in the setting `class_names`.
    """
    count = images.shape[0]
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "uiU":
        raise InputError(
            f"labels: {labels} has shape {labels.shape} and values of type {labels.dtype}; {count} images need labels "
            f"of shape ({count},), integers or texts; with data.classes=false, labels are ignored"
        )
    return number_classes(labels.read().reshape(-1).tolist(), config.class_names, f"labels: {labels}")


@dataclass(frozen=True)
class StoredImages:
    """Images in a NumPy array, with the order of their dimensions, the range of their values, and their labels."""

    array: StoredArray
    layout: Layout | Literal["NHW"]
    limits: Limits
    labels: tuple[tuple[str, ...], Tensor] | None
    """Class names, and the label of each image. None for images without classes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, (C, H, W)."""
        sizes = dict(zip(self.layout, self.array.shape, strict=True))
        return sizes.get("C", 1), sizes["H"], sizes["W"]

    def dataset(self) -> Dataset:
        """Return the dataset, without reading the images."""
        return Dataset(
            self.shape,
            None if self.labels is None else ClassCondition(self.labels[0]),
            self.load,
            self.stream,
            self.array.shape[0],
            note=f"values from {self.limits[0]:g} to {self.limits[1]:g}",
        )

    def load(self) -> tuple[Tensor, Tensor | None]:
        """Return images (N, C, H, W) and labels (N,). The images are memory-mapped if they need no scaling."""
        array = self.array.read()
        labels = None if self.labels is None else self.labels[1]
        if not is_unchanged(array.dtype, self.limits):
            images = torch.empty(len(array), *self.shape)
            for rows, part in self._parts(array):
                images[rows] = self._scaled(part)
            return images, labels
        if array.dtype.kind == "f":
            for _, part in self._parts(array):
                check_range(part, self.limits, self.array)
        return self._channels_second(array), labels

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield images and labels in chunks. The data are the same as in `load`."""
        array = self.array.read()
        convert = self._channels_second if is_unchanged(array.dtype, self.limits) else self._scaled
        for rows, part in self._parts(array):
            yield convert(part).contiguous(), None if self.labels is None else self.labels[1][rows]

    def _parts(self, array: Array) -> Iterator[tuple[slice, Array]]:
        """Yield an array of images in parts of about `CHUNK_BYTES` bytes, with the rows of each part."""
        count = max(1, CHUNK_BYTES // (array.itemsize * math.prod(array.shape[1:])))
        for begin in range(0, len(array), count):
            rows = slice(begin, begin + count)
            yield rows, array[rows]

    def _scaled(self, part: Array) -> Tensor:
        """Return images as float32 in [-1, 1], (n, C, H, W)."""
        return self._channels_second(to_unit_range(part, self.limits, self.array))

    def _channels_second(self, array: Array) -> Tensor:
        """Return images as a tensor (n, C, H, W), which shares the memory of the array."""
        images = torch.from_numpy(array)
        if self.layout == "NHW":
            return images[:, None]
        return images.permute(0, 3, 1, 2) if self.layout == "NHWC" else images
