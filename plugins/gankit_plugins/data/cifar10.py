"""The CIFAR-10 dataset, from images in class folders or from the binary version of the archive."""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gankit import ClassCondition, Dataset, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.decode import Channels
from gankit_plugins.data.folder import open_files, open_selection
from gankit_plugins.data.idx_collection import (
    PER_CLASS,
    check_classes,
    first_of_each_class,
    resize,
    select_classes,
)
from gankit_plugins.data.images import Loaded, UnpreparedImages, prepare_command
from gankit_plugins.data.listing import Listing, shortened
from gankit_plugins.data.standard_datasets import data_path

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Names of the classes, in the order of the labels."""

SIDE = 32
CHANNELS: Channels = 3

RECORD = 1 + CHANNELS * SIDE * SIDE
"""Number of bytes per image in the binary version.

The first byte is the label. The red, the green and the blue channel follow, each row by row.
"""

BINARY = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
"""Files of the binary version, by split."""

BINARY_FOLDER, BINARY_ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
PICKLES = ("data_batch_1", "test_batch", "cifar-10-batches-py", "cifar-10-python.tar.gz")
"""Names of files and folders of the Python version. gankit does not read this version."""

SOURCE = f"{BINARY_ARCHIVE} is at https://www.cs.toronto.edu/~kriz/cifar.html"

Split = Literal["train", "test"]


class Cifar10(Plugin):
    """CIFAR-10: 60,000 colour images of animals and vehicles, 32x32 pixels, in ten classes.

    The setting `path` names the binary version of the dataset: `cifar-10-binary.tar.gz` or its unpacked folder.
    Alternatively, `path` names a folder or a zip file of images, with a folder for each class, such as `airplane`.
    `path` may also name a folder that contains `train.zip` and `test.zip`, or the folders `train` and `test`. Nothing
    is downloaded. The binary version is at https://www.cs.toronto.edu/~kriz/cifar.html. gankit does not read the Python
    version, because its pickle files can execute code.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).

    When to use: for comparisons with papers on class-conditional networks and on FID.
    When not: for exact comparisons with papers, if the images are JPEG files, because compression changes the pixels.
    """

    name = "cifar10"
    kind = "data"

    class Config(Settings):
        path: RecipePath | None = Field(
            None,
            description=f"{BINARY_ARCHIVE}, its unpacked folder, or a folder or a zip file of images with a folder for "
            "each class; default: the folder cifar10 in $GANKIT_DATA, then in ~/.cache/gankit",
        )
        split: Split = Field("train", description="50,000 training images or 10,000 test images")
        classes: tuple[int, ...] | None = Field(
            None,
            min_length=1,
            description="use only these of the classes 0 (airplane) to 9 (truck); they become 0, 1, ... in this order",
        )
        per_class: int | None = Field(None, ge=1, description=PER_CLASS)
        resolution: int = Field(
            SIDE, ge=4, le=1024, description=f"height and width; images are resized if it is not {SIDE}"
        )

        @field_validator("classes")
        @classmethod
        def _once_each(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
            return check_classes(classes)

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        classes = config.classes or tuple(range(len(CLASSES)))
        names = tuple(CLASSES[label] for label in classes)
        path = find(data_path(config.path, self.name, SOURCE), config.split)
        if is_archive(path) or (path / BINARY[config.split][0]).is_file():
            if path.is_dir():  # an archive is compressed, so its files are checked only when they are read
                check_files(path, config.split)
            contents = ""

            def read() -> Loaded:
                return select_classes(*read_binary(path, config.split), classes)
        else:
            images = class_folders(path, config.split, names, prepare_command(self.name, config, path=path))
            contents = images.listing.contents
            read = images.load

        def load() -> tuple[Tensor, Tensor | None]:
            pixels, labels = read()[:2]
            assert labels is not None, "the images of both forms have classes"
            pixels, labels = first_of_each_class(pixels, labels, names, config.per_class)
            return resize(pixels, config.resolution), labels

        return Dataset((CHANNELS, config.resolution, config.resolution), ClassCondition(names), load, contents=contents)


def find(path: Path, split: Split) -> Path:
    """Return the file or folder of a split: the binary version if it exists, otherwise a folder or zip file of images.

    Args:
        path: file or folder from the user.

    Raises:
        InputError: only the Python version exists.
    """
    if path.is_file():
        if is_archive(path) and "python" in path.name:
            raise pickles(path)
        return path
    for folder in (path, path / BINARY_FOLDER):
        if any((folder / name).is_file() for name in (*BINARY["train"], *BINARY["test"])):
            return folder
    for file in (path / BINARY_ARCHIVE, path / f"{split}.zip"):
        if file.is_file():
            return file
    if found := next((path / name for name in PICKLES if (path / name).exists()), None):
        raise pickles(found)
    return path


def is_archive(path: Path) -> bool:
    """Return True if a file has the name of a tar archive, such as `a.tar.gz`."""
    return path.name.endswith((".tar.gz", ".tgz", ".tar")) and not path.is_dir()


def pickles(path: Path) -> InputError:
    """Return the InputError to raise for a file or folder of the Python version of CIFAR-10."""
    return InputError(
        f"path: {path} is the Python version of CIFAR-10, whose pickles gankit does not read; get the binary version: "
        f"{SOURCE}"
    )


def check_files(folder: Path, split: Split) -> None:
    """Raise `InputError` if a binary file of a split is missing, is empty or ends in the middle of an image."""
    for name in BINARY[split]:
        if not (folder / name).is_file():
            raise InputError(f"path: {folder} has no {name}; {SOURCE}")
        check_size(folder / name, (folder / name).stat().st_size)


def check_size(file: Path, size: int) -> None:
    """Raise `InputError` if a binary file of `size` bytes is empty or ends in the middle of an image."""
    if not size or size % RECORD:
        raise InputError(f"{file}: has {size} bytes; it must have records of {RECORD} bytes each; get it again")


def read_binary(path: Path, split: Split) -> tuple[Tensor, Tensor]:
    """Read the binary files of a split. Return images (N, 3, 32, 32) uint8 and labels (N,) int64.

    Args:
        path: folder of the files, or a tar archive, which is not unpacked to disk.

    Raises:
        InputError: a file is missing, cannot be read, or is not a file of the binary version.
    """
    if path.is_dir():
        check_files(path, split)
        contents = {name: (path / name).read_bytes() for name in BINARY[split]}
    else:
        contents = read_archive(path, split)
    pairs = [read_records(contents[name], path / name) for name in BINARY[split]]
    images, labels = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(labels)


def read_archive(path: Path, split: Split) -> dict[str, bytes]:
    """Return the contents of the binary files of a split in a tar archive, by file name."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.isfile() and name in PICKLES:
                    raise pickles(path)
                if name in BINARY[split] and (file := archive.extractfile(member)) is not None:
                    check_size(path / name, member.size)
                    contents[name] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"path: {path} cannot be read: {error}; get it again") from error
    if missing := [name for name in BINARY[split] if name not in contents]:
        raise InputError(f"path: {path} has no {missing[0]}; {SOURCE}")
    return contents


def read_records(content: bytes, file: Path) -> tuple[Tensor, Tensor]:
    """Return the images (N, 3, 32, 32) uint8 and labels (N,) int64 in the content of a binary file.

    `file` is the path of the file, for error messages.
    """
    check_size(file, len(content))
    # Copy the content to a bytearray, which is writable. PyTorch gives a warning for read-only `bytes`.
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, RECORD)
    labels = records[:, 0].long()
    if labels.max() >= len(CLASSES):
        raise InputError(f"{file}: has the label {int(labels.max())}; the classes are 0 to {len(CLASSES) - 1}")
    return records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE), labels


def class_folders(path: Path, split: Split, names: tuple[str, ...], command: str) -> UnpreparedImages:
    """Return the images of some classes in a folder or a zip file. The name of an image's folder is its class.

    Args:
        path: folder or zip file. If it contains folders with the names train or test, only the split's folder is used.
        names: classes to use, in the order of their labels.
        command: `gankit prepare` command for these images, which a message recommends.

    Raises:
        InputError: an image is not in the folder of a class, a class has no images, or the images belong to the other
            split.
    """
    other = "test" if split == "train" else "train"
    with open_files(path) as files:
        parents = {name: name.split("/")[:-1] for name in files.names()}
    if any({split, other} & set(folders) for folders in parents.values()):
        parents = {name: folders for name, folders in parents.items() if split in folders}
    elif path.stem == other:
        raise InputError(f"split: {path} has the images of the split {other}; set data.split={other}")
    classes = {name: folders[-1] if folders else path.name for name, folders in parents.items()}
    if strays := [name for name, folder in classes.items() if folder not in CLASSES]:
        raise InputError(
            f"path: {path}: {shortened(strays)} must be in the folder of a class; the classes are {', '.join(CLASSES)}"
        )
    if empty := [name for name in names if name not in set(classes.values())]:
        raise InputError(f"path: {path} has no images of {', '.join(empty)} for the split {split}; {SOURCE}")
    classes = {name: folder for name, folder in classes.items() if folder in names}
    listing = Listing(len(classes), names, "", classes, Counter(), ())
    return UnpreparedImages(
        path, partial(open_selection, path, classes.__contains__), listing, (SIDE, SIDE), CHANNELS, None, command
    )
