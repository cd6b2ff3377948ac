"""Pairs of a source image and a target image, from two folders or from files with both images side by side."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Dataset, ImageCondition, InputError, Plugin, RecipePath, Settings, hookimpl
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import Channels, ClipFile, Size, note
from gankit_plugins.data.folder import Files, open_files
from gankit_plugins.data.images import CHANNELS, RESOLUTION, Resolution, UnpreparedImages, prepare_command, size_of
from gankit_plugins.data.listing import Listing, shortened

Side = Literal["left", "right"]

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Pillow's names of the image modes that a PNG file can store."""


@dataclass(frozen=True)
class Ordered:
    """Some of the files in a folder or a zip file, in a given order."""

    files: Files
    order: Sequence[str]

    def names(self) -> Iterator[str]:
        """Return the names of the files."""
        return iter(self.order)

    def open(self, name: str) -> ClipFile:
        """Return the path or the content of an image file."""
        return self.files.open(name)


@dataclass(frozen=True)
class Half:
    """Left or right halves of the images in a folder or a zip file."""

    files: Files
    side: Side

    def names(self) -> Iterator[str]:
        """Return the names of the files."""
        return self.files.names()

    def open(self, name: str) -> bytes:
        """Return half of an image as the content of a PNG file. Raise `ImageError` if the file cannot be read."""
        file = self.files.open(name)
        assert not isinstance(file, tuple), "a file with both images is no clip"
        try:
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
                half = image.width // 2
                begin = 0 if self.side == "left" else image.width - half
                part = image.crop((begin, 0, begin + half, image.height))
                content = io.BytesIO()
                (part if part.mode in PNG_MODES else part.convert("RGB")).save(content, "PNG", compress_level=1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(" ".join(str(error).split()) or type(error).__name__) from error
        return content.getvalue()


class ImagePairs(Plugin):
    """Pairs of a source image and a target image: two folders, or files with both images side by side.

    With `source` and `target`, two folders or zip files, the images of a pair have the same name and may have different
    extensions, such as `source/city/1.png` and `target/city/1.jpg`. With `path`, a folder or a zip file, each file
    shows both images side by side. `source_side` names the half with the source image. Each image is cropped to its
    largest centred rectangle with the aspect ratio of `resolution`, and then resized, as the plugin `images` does.

    Source: Isola 2017, section 4.

    When to use: for image-to-image translation with pairs of your own images.
    When not: if a rule makes the source images from the targets (`rule_pairs`), or without pairs (`unpaired`).
    """

    name = "image_pairs"
    kind = "data"

    class Config(Settings):
        source: RecipePath | None = Field(None, description="folder or zip file of the source images")
        target: RecipePath | None = Field(None, description="folder or zip file of the target images")
        path: RecipePath | None = Field(
            None, description="folder or zip file of images side by side, instead of source and target"
        )
        source_side: Side = Field("left", description="half of a file in path that is the source image")
        resolution: Resolution = Field(RESOLUTION, description="side of both images in pixels, or [height, width]")
        channels: Channels = Field(CHANNELS, description="channels of the targets: 1 (grey), 3, or 4 (with opacity)")
        source_channels: Channels = Field(CHANNELS, description="channels of the source images: 1, 3 or 4")

        @model_validator(mode="after")
        def _folders(self) -> ImagePairs.Config:
            given = tuple(path is not None for path in (self.source, self.target, self.path))
            if given not in ((True, True, False), (False, False, True)):
                raise ValueError("set both source and target, or only path for images side by side")
            return self

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        size = size_of(c.resolution)
        if c.path is not None:
            path, source_side = c.path, c.source_side
            with open_files(path) as files:
                names = list(files.names())
            if not names:
                raise InputError(f"path: {path} contains no images")
            target_side: Side = "right" if source_side == "left" else "left"
            source, target = (
                self._images(path, names, size, channels, side)
                for channels, side in ((c.source_channels, source_side), (c.channels, target_side))
            )
        else:
            assert c.source is not None and c.target is not None, "the settings are checked"  # noqa: PT018
            source_names, target_names = matched(c.source, c.target)
            source = self._images(c.source, source_names, size, c.source_channels)
            target = self._images(c.target, target_names, size, c.channels)

        def load() -> tuple[Tensor, Tensor]:
            return target.load()[0], source.load()[0]

        return Dataset(
            (c.channels, *size),
            ImageCondition((c.source_channels, *size)),
            load,
            note=note(c.channels, size),
            contents=f"{target.listing.total:,} pairs",
        )

    def _images(
        self, path: Path, names: Sequence[str], size: Size, channels: Channels, side: Side | None = None
    ) -> UnpreparedImages:
        """Return images with the given names and in this order. If `side` is given, each one is half of a file."""

        @contextmanager
        def opened() -> Iterator[Files]:
            with open_files(path) as files:
                ordered = Ordered(files, names)
                yield ordered if side is None else Half(ordered, side)

        listing = Listing(len(names), (), "", None, Counter(), ())
        return UnpreparedImages(path, opened, listing, size, channels, None, prepare_command(self.name, self.config))


def matched(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Return the names of the images in two folders or zip files, so that the names at the same index form a pair.

    Raises:
        InputError: there are no images, an image has no partner, or two images differ only in their extensions.
    """
    by_stem = [stems(path) for path in (source, target)]
    for one, other, path, partner in ((0, 1, source, target), (1, 0, target, source)):
        if alone := sorted(by_stem[one].keys() - by_stem[other].keys()):
            raise InputError(
                f"{path}: {shortened(by_stem[one][stem] for stem in alone)} without an image of the same name in "
                f"{partner}; add the partner, or remove the image"
            )
    order = sorted(by_stem[0])
    return [by_stem[0][stem] for stem in order], [by_stem[1][stem] for stem in order]


def stems(path: Path) -> dict[str, str]:
    """Return the names of the images in a folder or zip file, by their names without extensions."""
    names: dict[str, str] = {}
    with open_files(path) as files:
        for name in files.names():
            stem = str(PurePosixPath(name).with_suffix(""))
            if stem in names:
                raise InputError(f"{path}: {names[stem]} and {name} differ only in the extension; rename one")
            names[stem] = name
    if not names:
        raise InputError(f"{path}: contains no images")
    return names
