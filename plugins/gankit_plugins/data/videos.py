"""Dataset of the user's own video clips, from a folder, a zip file or a file written by `gankit prepare`."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from gankit import Dataset, InputError, RecipePath, hookimpl, read_prepared
from gankit_plugins.data.clip_files import open_clips
from gankit_plugins.data.clip_output import ClipData, ClipSettings
from gankit_plugins.data.decode import ClipFrames
from gankit_plugins.data.images import (
    PREPARED,
    BadLimit,
    Resolution,
    UnpreparedImages,
    prepare_command,
    size_of,
    with_classes,
)
from gankit_plugins.data.listing import list_images

FRAMES, RESOLUTION, CHANNELS = 16, 64, 3


class Videos(ClipData):
    """Your own video clips: animated GIF, WebP or PNG files, or folders with an image for each frame.

    `path` is a folder or a zip file. If the images in a folder are animations, each is a clip. If they are still
    images, the folder is a clip, and its frames are in natural order (2 before 10). A clip consists of its first frame
    and every `stride`-th frame after it, `frames` frames in total. Durations in the files are ignored. Shorter clips
    cannot be used. They are skipped up to a limit, and a message names them. Each frame is cropped and resized as in
    the plugin `images`. All frames of a clip have the same crop.

    Folders that contain clips are classes, and files with labels are read as in `images`. In such a file, the name of a
    clip is the path of its file or its folder. `gankit prepare videos --out FILE path=...` writes a prepared file.

    Generated clips are written as GIF files with `fps` frames per second. Grids show the frames of a clip in a row.

    Source: none.

    When to use: for your own video.
    When not: for MP4 files, which must be converted first; for sound, which is ignored.
    """

    name = "videos"

    class Config(ClipSettings):
        path: RecipePath = Field(description="a folder, a zip file or a prepared .safetensors file")
        frames: int | None = Field(
            None, ge=2, le=4096, description=f"frames of a clip; default: {FRAMES}, or that of the prepared file"
        )
        stride: int = Field(1, ge=1, description="distance of successive frames of a clip; 2: every second frame")
        resolution: Resolution | None = Field(
            None,
            description=f"side in pixels, or [height, width]; default: {RESOLUTION}, or that of the prepared file",
        )
        channels: Literal[1, 3] | None = Field(
            None, description=f"1: grey, 3: colour; default: {CHANNELS}, or that of the prepared file"
        )
        classes: bool | None = Field(
            None,
            description="false to ignore labels and folders; true if a single folder is a class; default: classes if "
            "there are labels or several folders of clips",
        )
        bad_limit: BadLimit = 0.01

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return prepared_clips(self.config)
        return unprepared_clips(self.config).dataset()


def unprepared_clips(config: Videos.Config) -> UnpreparedImages:
    """Return the clips in a folder or a zip file. List the clips and classes, but do not decode the frames.

    Raises:
        InputError: the path cannot be read, there are no clips, or a clip is outside of the class folders.
    """
    path, channels, resolution = config.path, config.channels or CHANNELS, config.resolution or RESOLUTION
    frames = ClipFrames(config.frames or FRAMES, config.stride)
    with open_clips(path, frames) as files:
        listing = list_images(files, config.classes, path)
    command = prepare_command(
        "videos", config, path=path, frames=frames.count, resolution=resolution, channels=channels
    )
    opened = partial(open_clips, path, frames)
    return UnpreparedImages(
        path, opened, listing, size_of(resolution), channels, config.bad_limit, command, frames=frames
    )


def prepared_clips(config: Videos.Config) -> Dataset:
    """Return the dataset in a file written by `gankit prepare`.

    Raises:
        InputError: the file contains no video, or does not match the settings.
    """
    path, dataset = config.path, read_prepared(config.path)
    if len(dataset.shape) != 4:
        raise InputError(f"path: {path} has no clips, but samples of shape {dataset.shape}; use the plugin images")
    channels, frames, height, width = dataset.shape
    size = None if config.resolution is None else list(size_of(config.resolution))
    for key, requested, actual in (
        ("frames", config.frames, frames),
        ("resolution", size, [height, width]),
        ("channels", config.channels, channels),
    ):
        if requested not in (None, actual):
            raise InputError(
                f"{key}: {path} was prepared with {key}={actual}, but {requested} is requested; set "
                f"data.{key}={actual}, or prepare the clips again"
            )
    return with_classes(dataset, config)
