"""Dataset of images in tar archives, in the format of WebDataset."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field

from gankit import Dataset, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import Channels
from gankit_plugins.data.folder import SUFFIXES
from gankit_plugins.data.images import (
    CHANNELS,
    RESOLUTION,
    BadLimit,
    Resolution,
    UnpreparedImages,
    prepare_command,
    size_of,
)
from gankit_plugins.data.labels import NO_CLASSES, ClassNames, number_classes
from gankit_plugins.data.listing import Listing
from gankit_plugins.data.tar_files import Member, Members, find_archives, list_members

CLASS, JSON = "cls", "json"
"""Extensions of the files with the class of a sample."""


class WebDataset(Plugin):
    """Your own images in tar archives (shards), in the format of WebDataset.

    A sample has an image such as `KEY.jpg` or `KEY.png`. Its class is in `KEY.cls`, as a number or a name, or in the
    object in `KEY.json`, under the key of the setting `label`. KEY is the path of a file up to the first dot of its
    name. The values of the labels are the classes, in natural order (2 before 10). With `class_names`, the labels are
    the numbers of these classes, from 0. Other files are counted by extension.

    The archives are listed once, and are not unpacked to disk. The images are decoded as those of `images`: cropped to
    the largest centred rectangle with the aspect ratio of `resolution`, and resized with the Lanczos filter. All images
    are then shuffled in each epoch, and a resumed run continues exactly. Data that cannot be listed first, such as
    streams from a network and compressed archives, are not supported.

    Source: Aizman 2019, "High performance I/O for large scale deep learning", for the format.

    When to use: for images that are already in such archives.
    When not: for images in folders and zip files; use `images`. If the images do not fit into memory, run `gankit
    prepare` first.
    """

    name = "webdataset"
    kind = "data"

    class Config(Settings):
        path: RecipePath = Field(
            description="a tar archive, a folder of them, or a pattern: train-*.tar or train-{0000..0009}.tar"
        )
        image: str | None = Field(
            None, min_length=1, description="extension of the images, such as jpg; default: the image of each sample"
        )
        label: str | None = Field(
            None, min_length=1, description="key of the class in KEY.json; default: the class is in KEY.cls"
        )
        resolution: Resolution = Field(RESOLUTION, description="side in pixels, or [height, width]")
        channels: Channels = Field(CHANNELS, description="1: grey, 3: colour, 4: colour and opacity")
        classes: bool | None = Field(
            None, description="false to ignore labels, true to require them; default: classes if there are labels"
        )
        class_names: ClassNames = None
        bad_limit: BadLimit = 0.01

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        images, listing = list_samples(find_archives(config.path), config)
        # A pattern such as `{0000..0009}` needs quotes on the command line.
        command = prepare_command(self.name, config, path=json.dumps(str(config.path)))
        return UnpreparedImages(
            config.path,
            lambda: nullcontext(Members(images)),
            listing,
            size_of(config.resolution),
            config.channels,
            config.bad_limit,
            command,
        ).dataset()


def list_samples(archives: Sequence[Path], config: WebDataset.Config) -> tuple[dict[str, Member], Listing]:
    """Return the images in tar archives by their names, and their listing.

    Raises:
        InputError: an archive cannot be read, there are no images, a sample has several images, or a label is missing
            or invalid.
    """
    images: dict[str, Member] = {}
    image_of: dict[str, str] = {}
    labels: dict[str, Member] = {}
    others: Counter[str] = Counter()
    label_file = CLASS if config.label is None else JSON
    for archive in archives:
        for name, member in list_members(archive):
            key, extension = split_name(f"{archive}/{name}")
            if extension == config.image or (config.image is None and f".{extension}" in SUFFIXES):
                if key in image_of:
                    raise InputError(
                        f"image: {key} has several images, such as {image_of[key].rpartition('/')[2]} and "
                        f"{name.rpartition('/')[2]}; set data.image to the extension of the images"
                    )
                image_of[key] = f"{archive}/{name}"
                images[image_of[key]] = member
            elif extension == label_file and config.classes is not False:
                labels[key] = member
            else:
                others[f".{extension}"] += 1
    if not images:
        found = f", but files of {', '.join(others)}" if others else ""
        wanted = "images" if config.image is None else f"files .{config.image}"
        raise InputError(f"{'image' if config.image else 'path'}: {config.path} has no {wanted}{found}")
    required = config.classes or config.label is not None or config.class_names is not None
    if config.classes is False or not (labels or required):
        return images, Listing(len(images), (), "", None, others, ())
    if without := next((key for key in image_of if key not in labels), None):
        raise InputError(f"path: {without} has no file .{label_file} with its class; add it, or {NO_CLASSES}")
    values = [read_label(labels[key], f"{key}.{label_file}", config.label) for key in image_of]
    names, numbers = number_classes(values, config.class_names, f"class_names: {config.path}")
    classes = {image: names[number] for image, number in zip(images, numbers.tolist(), strict=True)}
    return images, Listing(len(images), names, "", classes, others, ())


def split_name(name: str) -> tuple[str, str]:
    """Return the key and the extension of a file. The extension follows the first dot of the name, in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def read_label(member: Member, name: str, key: str | None) -> str | int:
    """Return the class of a sample, from a text file, or from a JSON file if `key` is given.

    Args:
        member: file with the class.
        name: name of the file, for messages.
        key: key of the class in the object of a JSON file. None for a text file.

    Raises:
        InputError: the file has no class.
    """
    label: Any
    try:
        content = member.read()
        label = content.decode().strip() if key is None else json.loads(content)[key]
    except (ImageError, ValueError, KeyError, TypeError):
        label = None
    if type(label) not in (str, int) or label == "":
        place = "a number or a name" if key is None else f"a number or a name under the key {key!r}"
        raise InputError(f"{'path' if key is None else 'label'}: {name} must have {place}; correct it, or {NO_CLASSES}")
    return label
