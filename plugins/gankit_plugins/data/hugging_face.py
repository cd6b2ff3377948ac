"""Dataset of images in the format of the library `datasets` of Hugging Face, from a local folder or from the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gankit import Dataset, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import Channels, ImageFile
from gankit_plugins.data.images import (
    CHANNELS,
    RESOLUTION,
    BadLimit,
    Resolution,
    UnpreparedImages,
    prepare_command,
    size_of,
)
from gankit_plugins.data.labels import NO_CLASSES, number_classes
from gankit_plugins.data.listing import Listing, shortened

ONE, SEVERAL = "state.json", "dataset_dict.json"
"""Files in a folder that `save_to_disk` has written, for one split and for several splits."""

HUB_NAME = r"(\w[\w.-]*/)?\w[\w.-]*"
"""Regular expression for the name of a dataset on the hub."""

ROW = "row "
"""First part of the name of an image. The second part is its number, from 0."""


class HuggingFace(Plugin):
    """Your own images, or a dataset of the Hugging Face hub, in the format of the library `datasets`.

    The setting `path` names a local folder: images, Parquet files or another format of `datasets.load_dataset`, or a
    folder written by `save_to_disk`. Alternatively, `hub` names a dataset on https://huggingface.co/datasets, such as
    `ylecun/mnist`. It is downloaded to the cache of `datasets` and is then read from there. Set `revision` to a commit,
    so that later runs use the same data. No code of a dataset is executed. The library requires
    `pip install 'gankit[hugging_face]'`.

    The images are in the column `image`, by default the only column of images. The classes are in the column `label`,
    by default the only column of type `ClassLabel`, which also has the names of the classes. In other columns, the
    sorted integers or texts are the classes. The images are decoded as those of `images`: cropped to the largest
    centred rectangle with the aspect ratio of `resolution`, and resized with the Lanczos filter.

    Source: Lhoest 2021, "Datasets: a community library for natural language processing".

    When to use: for datasets of the hub, and for images in Parquet files.
    When not: for images in folders and zip files; use `images`, which needs no other library. If the images do not fit
    into memory, run `gankit prepare` first.
    """

    name = "hugging_face"
    kind = "data"

    class Config(Settings):
        path: RecipePath | None = Field(None, description="a local folder of the dataset; give either path or hub")
        hub: str | None = Field(
            None, pattern=f"^{HUB_NAME}$", description="name of a dataset on the hub, such as ylecun/mnist; downloaded"
        )
        name: str | None = Field(None, description="configuration of the dataset; default: its only or default one")
        split: str | None = Field(
            None, description="part of the dataset, such as test; default: train, or the only one"
        )
        revision: str | None = Field(None, description="commit, tag or branch of the dataset on the hub")
        image: str | None = Field(None, description="column of the images; default: the only column of images")
        label: str | None = Field(None, description="column of the classes; default: the only column of class labels")
        resolution: Resolution = Field(RESOLUTION, description="side in pixels, or [height, width]")
        channels: Channels = Field(CHANNELS, description="1: grey, 3: colour, 4: colour and opacity")
        classes: bool | None = Field(
            None, description="false to ignore labels, true to require them; default: classes if there are labels"
        )
        bad_limit: BadLimit = 0.01

        @model_validator(mode="after")
        def _one_place(self) -> HuggingFace.Config:
            if (self.path is None) == (self.hub is None):
                raise ValueError("give either path, a local folder, or hub, the name of a dataset on the hub")
            if self.hub is None and self.revision is not None:
                raise ValueError("revision belongs to hub, and a local folder has none; remove revision")
            return self

        @property
        def place(self) -> str:
            """Key and value of the place of the dataset, for messages."""
            return f"hub: {self.hub}" if self.path is None else f"path: {self.path}"

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        table = open_table(config)
        rows, listing = list_rows(table, config)
        source = {"hub": config.hub} if config.path is None else {"path": config.path}
        return UnpreparedImages(
            config.path or Path(str(config.hub)),
            lambda: nullcontext(rows),
            listing,
            size_of(config.resolution),
            config.channels,
            config.bad_limit,
            prepare_command(self.name, config, **source),
        ).dataset()


@dataclass(frozen=True)
class Rows:
    """Image files in a column of a `datasets.Dataset`. The name of an image is `row ` and its number."""

    table: Any
    column: str

    def names(self) -> Iterator[str]:
        """Return the names of all images, in the order of the rows."""
        return (f"{ROW}{number}" for number in range(len(self.table)))

    def open(self, name: str) -> ImageFile:
        """Return the path or the content of an image. Raise `ImageError` if the row has no image."""
        value = self.table[int(name.removeprefix(ROW))][self.column]
        file: ImageFile | None = (value["bytes"] or value["path"]) if value else None
        if not file:
            raise ImageError("the row has no image")
        return file


def open_table(config: HuggingFace.Config) -> Any:
    """Return the `datasets.Dataset` of a split. A dataset of the hub is downloaded if it is not in the cache.

    Raises:
        InputError: the library is not installed, or the dataset or the split does not exist or cannot be read.
    """
    if config.path is not None and not config.path.is_dir():
        # Check this first, because `load_dataset` would search for the path on the hub.
        raise InputError(f"path: {config.path} is not a folder; for a dataset on the hub, set data.hub")
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{config.place}: the library datasets is not installed; run `pip install 'gankit[hugging_face]'`"
        ) from None
    from_disk = config.path is not None and any((config.path / name).is_file() for name in (ONE, SEVERAL))
    if from_disk and config.name is not None:
        raise InputError(f"name: {config.path} was written by save_to_disk and has no configurations; remove data.name")
    try:
        if from_disk:
            loaded = datasets.load_from_disk(str(config.path))
        else:
            # Without the prefix `hf://`, the library prefers a local folder of this name to the dataset on the hub.
            place = f"hf://datasets/{config.hub}" if config.hub else str(config.path)
            loaded = datasets.load_dataset(place, config.name, revision=config.revision)
    except Exception as error:  # the library raises exceptions of many types
        raise InputError(f"{config.place} cannot be loaded: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, datasets.DatasetDict):
        if config.split not in (None, str(loaded.split)):
            raise InputError(f"split: {config.path} has only one split; remove data.split")
        return loaded.with_format(None)
    split = config.split or ("train" if len(loaded) > 1 else next(iter(loaded)))
    if split not in loaded:
        raise InputError(f"split: {config.place} has no split {split}; set data.split to one of {', '.join(loaded)}")
    # A dataset may be saved with a format, such as tensors. Images and labels are read without one.
    return loaded[split].with_format(None)


def list_rows(table: Any, config: HuggingFace.Config) -> tuple[Rows, Listing]:
    """Return the image files in a `datasets.Dataset`, and their listing.

    Raises:
        InputError: a column does not exist or has another type, or a label is missing.
    """
    import datasets

    image = find_column(table, "image", config.image, datasets.Image, config)
    if image is None:
        raise InputError(f"image: {config.place} has no column of images; it has {columns(table)}")
    rows = Rows(table.select_columns([image]).cast_column(image, datasets.Image(decode=False)), image)
    label = None if config.classes is False else find_column(table, "label", config.label, datasets.ClassLabel, config)
    if label is None:
        if config.classes:
            raise InputError(f"label: {config.place} has no column of class labels; set data.label: {columns(table)}")
        return rows, Listing(len(table), (), "", None, Counter(), ())
    values = list(table[label])
    feature = table.features[label]
    known = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    for number, value in enumerate(values):
        if type(value) not in (int, str) or (known is not None and not 0 <= value < len(known)):
            raise InputError(
                f"label: {config.place}: row {number} has the value {value!r} in the column {label!r}, which is not a "
                f"class; choose another column, or {NO_CLASSES}"
            )
    names, labels = number_classes(values, known, f"label: {config.place}")
    classes = {name: names[index] for name, index in zip(rows.names(), labels.tolist(), strict=True)}
    return rows, Listing(len(table), names, "", classes, Counter(), ())


def find_column(table: Any, key: str, given: str | None, feature: type, config: HuggingFace.Config) -> str | None:
    """Return the column with the given name, or the only column of a type. Return None if there is no such column.

    Args:
        table: `datasets.Dataset` with the columns.
        key: setting that names the column.
        given: value of this setting.
        feature: type of the column, such as `datasets.Image`. The images always have this type.
        config: settings of the plugin, for messages.

    Raises:
        InputError: the given column does not exist or has no images, or several columns have the type.
    """
    found = [name for name, one in table.features.items() if isinstance(one, feature)]
    if given is not None:
        if given not in table.features or (key == "image" and given not in found):
            raise InputError(f"{key}: {config.place} has no column {given!r} of {key}s; it has {columns(table)}")
        return given
    if len(found) > 1:
        raise InputError(f"{key}: {config.place} has the columns {', '.join(found)}; set data.{key} to one of them")
    return found[0] if found else None


def columns(table: Any) -> str:
    """Return the names and the types of all columns as text, such as `image (Image), label (ClassLabel)`."""
    return shortened(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
