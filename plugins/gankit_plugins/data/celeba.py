"""The CelebA dataset: aligned photos of faces, with 40 attributes for each photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field, field_validator

from gankit import Dataset, InputError, Plugin, RecipePath, Settings, VectorCondition, hookimpl
from gankit_plugins.data.folder import open_files, open_selection
from gankit_plugins.data.images import CHANNELS, RESOLUTION, Side, UnpreparedImages, prepare_command
from gankit_plugins.data.listing import Listing, shortened
from gankit_plugins.data.standard_datasets import check_known, data_path, once_each

IMAGES = ("img_align_celeba", "img_align_celeba.zip")
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"

SUBFOLDERS = ("", "Img", "Anno", "Eval")
"""Subfolders of the official download that may contain the files. "" means the top folder."""

WIDTH = 178
"""Width of the aligned images, in pixels. Their height is 218."""

SPLITS = {"train": "0", "validation": "1", "test": "2"}
"""Number that marks each split in the file `list_eval_partition.txt`."""

VALUES = {"1": 1.0, "-1": -1.0}
"""Values of an attribute in the file `list_attr_celeba.txt`: 1 for present, -1 for absent."""

SOURCE = "the files are at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class CelebA(Plugin):
    """CelebA: 202,599 aligned photos of faces, 178x218 pixels, with 40 attributes such as `Smiling`.

    The condition is a vector of the attributes. In `gankit sample --set Smiling=1`, 1 means present and 0 means absent.
    The setting `path` is a folder with the official files: `list_attr_celeba.txt`, `list_eval_partition.txt` and
    `img_align_celeba.zip`. The unpacked folder `img_align_celeba` may replace the zip file. The files may be in the
    subfolders `Img`, `Anno` and `Eval` of the official download. Nothing is downloaded. The files are at
    https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.

    The central square with a side of `crop` pixels is cropped from each image and resized with the Lanczos filter. The
    default is the full width of 178 pixels, as in StarGAN. Many papers crop 108 pixels, as in carpedm20's
    implementation of DCGAN. These crops show little more than the face.

    Source: Liu 2015, "Deep learning face attributes in the wild"; Choi 2018 (StarGAN), section 5.2, for the crop.

    When to use: for photos of faces up to 178x178, and for networks with attributes as a condition.
    When not: for higher resolutions. If the images do not fit into memory, run `gankit prepare` first.
    """

    name = "celeba"
    kind = "data"

    class Config(Settings):
        path: RecipePath | None = Field(
            None, description="folder of the files; default: the folder celeba in $GANKIT_DATA, then in ~/.cache/gankit"
        )
        split: Literal["train", "validation", "test", "all"] = Field(
            "train", description="162,770 images for training, 19,867 for validation, 19,962 for testing, or all"
        )
        attributes: tuple[str, ...] | None = Field(
            None, description="names of the attributes that are the condition; [] for none; default: all 40"
        )
        crop: int = Field(WIDTH, ge=4, le=WIDTH, description="side of the central square that is cropped, in pixels")
        resolution: Side = Field(RESOLUTION, description="height and width to which the square is resized")

        @field_validator("attributes")
        @classmethod
        def _once_each(cls, attributes: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return once_each(attributes)

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        path = data_path(config.path, self.name, SOURCE)
        images = find(path, IMAGES)
        names = None if config.split == "all" else read_partition(find(path, (PARTITION,)), SPLITS[config.split])
        table = None if config.attributes == () else read_attributes(find(path, (ATTRIBUTES,)), config.attributes)
        listing = list_faces(images, names, table)
        return UnpreparedImages(
            images,
            partial(open_selection, images, listing.row.__contains__),
            listing,
            (config.resolution, config.resolution),
            CHANNELS,
            None,
            prepare_command(self.name, config, path=path),
            config.crop,
        ).dataset()


class Attributes(NamedTuple):
    """Attributes of all images, read from the file `list_attr_celeba.txt`."""

    file: Path
    names: tuple[str, ...]
    rows: dict[str, list[float]]
    """Attributes of each image by its file name: 1 for present, -1 for absent."""


def find(folder: Path, names: tuple[str, ...]) -> Path:
    """Search a folder and its subfolders `Img`, `Anno` and `Eval` for the given names. Return the first match.

    Raises:
        InputError: no file or folder has one of these names.
    """
    paths = (folder / subfolder / name for name in names for subfolder in SUBFOLDERS)
    if (found := next((path for path in paths if path.exists()), None)) is None:
        raise InputError(f"path: {folder} has no {' or '.join(names)}; {SOURCE}")
    return found


def read_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the words of each line of a text file. Empty lines are left out.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"path: {file} cannot be read: {error}") from error
    return ((number, words) for number, line in enumerate(lines, 1) if (words := line.split()))


def read_partition(file: Path, number: str) -> list[str]:
    """Return the names of the images in a split.

    Each line of the file has the name of an image and the number of its split. `number` is the number of the split to
    return.

    Raises:
        InputError: a line has the wrong format, or the split has no images.
    """
    names = []
    for position, words in read_lines(file):
        if len(words) != 2 or words[1] not in SPLITS.values():
            raise InputError(
                f"path: {file}, line {position}: {' '.join(words)!r} must be an image and its split, such as "
                "'000001.jpg 0'"
            )
        if words[1] == number:
            names.append(words[0])
    if not names:
        raise InputError(f"split: {file} has no images with the number {number}")
    return names


def read_attributes(file: Path, selected: tuple[str, ...] | None) -> Attributes:
    """Return the selected attributes of all images.

    The first line of the file contains the number of images, and the second line contains the names of the attributes.
    Each further line contains the name of an image, and 1 or -1 for each attribute.

    Args:
        file: path of the file `list_attr_celeba.txt`.
        selected: names of the attributes to return. None means all attributes.

    Raises:
        InputError: a line has the wrong format, lines are missing, or a selected name is not in the file.
    """
    lines = read_lines(file)
    (_, first), (_, names) = next(lines, (1, [])), next(lines, (2, []))
    if len(first) != 1 or not first[0].isdecimal() or not names:
        raise InputError(
            f"path: {file} must begin with a line with the number of images and a line with the names of the attributes"
        )
    selected = tuple(names) if selected is None else selected
    check_known("attributes", selected, names, file)
    columns = [1 + names.index(name) for name in selected]
    by_image = {}
    for position, words in lines:
        if len(words) != 1 + len(names) or not VALUES.keys() >= set(words[1:]):
            raise InputError(
                f"path: {file}, line {position}: {words[0]} must have {len(names)} values, each 1 or -1, but has "
                f"{len(words) - 1}: {shortened(words[1:])}"
            )
        by_image[words[0]] = [VALUES[words[column]] for column in columns]
    if len(by_image) != int(first[0]):
        raise InputError(
            f"path: {file}: the first line announces {first[0]} images, but {len(by_image)} have a line; get it again"
        )
    return Attributes(file, selected, by_image)


def list_faces(path: Path, names: list[str] | None, table: Attributes | None) -> Listing:
    """Return the listing of images in a folder or a zip file, with their attributes.

    Args:
        path: folder or zip file of the images. Images may be in any of its subfolders.
        names: file names of the images to use. None means all images that have attributes, or all images if `table` is
            None.
        table: attributes of the images. None for images without a condition.

    Raises:
        InputError: an image or its attributes are missing.
    """
    with open_files(path) as files:
        paths = {name.rpartition("/")[2]: name for name in files.names()}
    if names is None:
        names = list(paths if table is None else table.rows)
    if missing := [name for name in names if name not in paths]:
        raise InputError(f"path: {path} has no {shortened(missing)}; get it again; {SOURCE}")
    row = {paths[name]: number for number, name in enumerate(names)}
    if table is None:
        return Listing(len(row), (), "", None, Counter(), (), row=row)
    if missing := [name for name in names if name not in table.rows]:
        raise InputError(f"path: {table.file} has no line for {shortened(missing)}; get it again; {SOURCE}")
    # Users set 1 for present and 0 for absent. The inputs of the networks are the values in the file, 1 and -1.
    condition = VectorCondition(table.names, ((0, 1),) * len(table.names))
    numbers = torch.tensor([table.rows[name] for name in names])
    return Listing(len(row), (), "", None, Counter(), (), condition, numbers, row)
