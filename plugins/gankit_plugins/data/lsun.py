"""The LSUN dataset: photos of scenes and objects, from exported images or from LMDB databases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from gankit import Dataset, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.folder import EXTENSIONS, Files, open_files, open_selection
from gankit_plugins.data.images import CHANNELS, RESOLUTION, BadLimit, Side, UnpreparedImages, prepare_command
from gankit_plugins.data.labels import natural_order
from gankit_plugins.data.listing import Listing, common_folder, extensions
from gankit_plugins.data.lmdb_files import DATA, open_databases
from gankit_plugins.data.standard_datasets import check_known, data_path, once_each

DATABASE = re.compile(r"(?P<category>.+?)(_(?P<split>train|val))?(_lmdb)?")
"""Regular expression for the name of a database's folder.

Examples are `bedroom_train_lmdb` for a scene, and `cat` for an object.
"""

WITHOUT_CATEGORY = "test_lmdb"
"""Name of the database with the test images. The categories of these images are not published."""

SOURCE = "the databases are at https://www.yf.io/p/lsun"

Split = Literal["train", "val"]
Opened = Callable[[], AbstractContextManager[Files]]


class Lsun(Plugin):
    """LSUN: millions of photos of ten scenes, such as `bedroom`, and of twenty objects, such as `cat`.

    The setting `path` names a folder of LMDB databases, such as `bedroom_train_lmdb`, or a single database. Databases
    require `pip install 'gankit[lsun]'`. Alternatively, `path` names a folder or a zip file of exported images. It
    contains a folder for each category, or only the images of one category. Images may also be in nested folders whose
    names have one character, as LSUN's export tool creates them. If there are databases, images in the same folder are
    ignored. Nothing is downloaded. The databases are at https://www.yf.io/p/lsun, and must be unpacked after the
    download.

    The largest centred square is cropped and resized with the Lanczos filter. If there are several categories, the
    categories are the classes. Damaged images are skipped up to a limit, and a message names them.

    Source: Yu 2015, "LSUN: construction of a large-scale image dataset using deep learning with humans in the loop".

    When to use: for comparisons with papers on bedrooms, churches and other scenes.
    When not: for a first recipe. The 3 million bedrooms do not fit into memory, so run `gankit prepare` first.
    """

    name = "lsun"
    kind = "data"

    class Config(Settings):
        path: RecipePath | None = Field(
            None,
            description="a folder of LMDB databases, a single one, or a folder or a zip file of images; default: the "
            "folder lsun in $GANKIT_DATA, then in ~/.cache/gankit",
        )
        categories: tuple[str, ...] | None = Field(
            None, min_length=1, description="use only these categories, in this order; default: all"
        )
        split: Split = Field("train", description="which of the databases *_train_lmdb and *_val_lmdb to use")
        resolution: Side = Field(RESOLUTION, description="height and width to which the square is resized")
        bad_limit: BadLimit = 0.01

        @field_validator("categories")
        @classmethod
        def _once_each(cls, categories: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return once_each(categories)

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        config = self.config
        path = data_path(config.path, self.name, SOURCE)
        if databases := find_databases(path):
            opened, listing = list_databases(path, databases, config.split, config.categories)
        else:
            opened, listing = list_images(path, config.split, config.categories)
        size = (config.resolution, config.resolution)
        command = prepare_command(self.name, config, path=path)
        return UnpreparedImages(path, opened, listing, size, CHANNELS, config.bad_limit, command).dataset()


def find_databases(path: Path) -> list[Path]:
    """Return the sorted folders of the databases in a folder, or only the folder itself if it is a database."""
    if not path.is_dir():
        return []
    if (path / DATA).is_file():
        return [path]
    return sorted(file.parent for file in path.glob(f"*/{DATA}") if file.parent.name != WITHOUT_CATEGORY)


def list_databases(
    path: Path, folders: list[Path], split: Split, selected: tuple[str, ...] | None
) -> tuple[Opened, Listing]:
    """Return a function that opens the databases, and the listing of their images, for the selected categories.

    Args:
        path: path from the user, for error messages.
        folders: folders of all databases, of any split.
        split: split to use. Databases of another split are ignored.
        selected: categories to use, or None for all categories.

    Raises:
        InputError: a category does not exist, there are no images, or the databases cannot be opened.
    """
    found, others = {}, set()
    for folder in folders:
        match = DATABASE.fullmatch(folder.name)
        assert match is not None, "the pattern matches any name"
        if match["split"] in (None, split):
            found[match["category"]] = folder
        else:
            others.add(match["split"])
    if not found:
        other = others.pop()
        raise InputError(f"split: {path} has no database of the split {split}; set data.split={other}, or data.path")
    categories = selected or tuple(sorted(found, key=natural_order))
    check_known("categories", categories, found, path)
    opened = partial(open_databases, {category: found[category] for category in categories})
    with opened() as databases:
        total = databases.count()
    if not total:
        raise InputError(f"path: {path} has no images of {', '.join(categories)}; {SOURCE}")
    return opened, Listing(total, classes_of(categories), "", None, Counter(), ())


def list_images(path: Path, split: Split, selected: tuple[str, ...] | None) -> tuple[Opened, Listing]:
    """Return a function that opens the images in a folder or a zip file, and the listing of these images.

    Args:
        path: folder or zip file.
        split: split to use. Folders of images have no splits, so only `train` is valid.
        selected: categories to use, or None for all categories.

    Raises:
        InputError: there are no images, a category does not exist, or images are outside of the category folders.
    """
    if split != "train":
        raise InputError(f"split: {path} has no LMDB databases; remove data.split, and set data.path to the images")
    counts: Counter[str] = Counter()
    with open_files(path) as files:
        for name in files.names():
            counts[name.rpartition("/")[0]] += 1
        others = files.passed_over
    if not counts:
        found = f", and these files are {extensions(others)}" if others else ""
        raise InputError(
            f"path: {path} has no LMDB databases and no images; the extensions of images are "
            f"{EXTENSIONS.replace(' ', ', ')}{found}; databases must be unpacked; {SOURCE}"
        )
    outer = common_folder(counts)
    totals: Counter[str] = Counter()
    for folder, count in counts.items():
        totals[folder.removeprefix(outer.rstrip("/")).removeprefix("/").partition("/")[0]] += count
    if all(len(folder) <= 1 for folder in totals):  # images of one category, perhaps in LSUN's one-character folders
        only = next((part for part in reversed(outer.split("/")) if len(part) > 1), path.stem)
        check_known("categories", selected or (), [only], path)
        return partial(open_files, path), Listing(totals.total(), (), outer, None, Counter(others), ())
    if "" in totals:
        raise InputError(
            f"path: {path} has images outside of the folders of the categories ({totals['']}); move or remove them"
        )
    categories = selected or tuple(sorted(totals, key=natural_order))
    check_known("categories", categories, totals, path)
    total = sum(totals[category] for category in categories)
    listing = Listing(total, classes_of(categories), outer, None, Counter(others), ())

    def keep(name: str) -> bool:
        return listing.class_of(name) in categories

    return partial(open_selection, path, keep), listing


def classes_of(categories: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the classes: the categories, or an empty tuple for a single category."""
    return categories if len(categories) > 1 else ()
