"""Video clips in a folder or a zip file: animated images, and folders with an image for each frame."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from gankit import InputError
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import ClipFile, ClipFrames
from gankit_plugins.data.folder import Folder, Zip, open_files
from gankit_plugins.data.labels import natural_order

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
"""Extensions of video files, which are not read. A message recommends a conversion."""

MAYBE_ANIMATED = (".webp", ".png", ".avif")
"""Extensions of images that may be an animation or a single frame."""


class ClipFiles:
    """Clips in a folder or a zip file.

    The first image of a folder determines whether its images are clips (animations), or whether the folder is a clip
    (and the images are its frames, in natural order). In a folder with GIF files, all images are clips, and still
    images are too short. The name of a clip is the path of the file or the folder.

    Args:
        files: image files in a folder or a zip file.
        frames: frames to choose from each clip.
        path: path of the folder or zip file, for messages.

    Raises:
        InputError: there are no clips, or still images lie outside of the folders of clips.
    """

    def __init__(self, files: Folder | Zip, frames: ClipFrames, path: Path) -> None:
        self.files, self.frames = files, frames
        by_folder: dict[str, list[str]] = {}
        for name in files.names():
            by_folder.setdefault(name.rpartition("/")[0], []).append(name)
        self.images: dict[str, list[str]] = {}
        """Images of each clip, by the name of the clip: the animation, or the frames in natural order."""

        for folder, names in by_folder.items():
            # A still image beside GIF files, such as a preview, must not turn all of them into the frames of one clip.
            if is_animation(files, next(filter(_is_gif, names), names[0])):
                self.images |= {name: [name] for name in names}
            elif folder:
                self.images[folder] = sorted(names, key=natural_order)
            else:
                raise InputError(
                    f"path: {path} has still images such as {names[0]} at its top; put the frames of each clip into a "
                    "folder of its own"
                )
        if not self.images:
            raise InputError(f"path: {path} contains no clips; {_advice(files.passed_over)}")
        self.animations = {name for name, images in self.images.items() if images == [name]}

    @property
    def passed_over(self) -> Counter[str]:
        """Number of files that are not images, by extension."""
        return self.files.passed_over

    def names(self) -> Iterator[str]:
        """Return the names of all clips, sorted."""
        return iter(sorted(self.images))

    def subfolders(self, prefix: str) -> set[str]:
        """Return the names of the folders directly in the folder `prefix`, which ends in a slash or is empty."""
        return self.files.subfolders(prefix)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file that is not an image, or None if it does not exist."""
        return self.files.read(name)

    def open(self, name: str) -> ClipFile:
        """Return the file of an animation, or the files of the chosen frames of a folder.

        Raises:
            ImageError: the folder has too few frames, or a file cannot be read or is too large.
        """
        images = self.images[name]
        if name in self.animations:
            return self.files.open(name)
        self.frames.check_length(len(images))
        return tuple(self.files.open(images[index]) for index in self.frames.indices)


@contextmanager
def open_clips(path: Path, frames: ClipFrames) -> Iterator[ClipFiles]:
    """Open a folder or a zip file of clips (a context manager). See `ClipFiles` for the arguments.

    Raises:
        InputError: `path` is not a folder or a zip file, cannot be read, or contains no clips.
    """
    with open_files(path) as files:
        yield ClipFiles(files, frames, path)


def is_animation(files: Folder | Zip, name: str) -> bool:
    """Return True if an image file is an animation. A GIF file is always an animation."""
    if Path(name).suffix.lower() not in MAYBE_ANIMATED:
        return _is_gif(name)
    try:
        file = files.open(name)
        with Image.open(file if isinstance(file, str) else io.BytesIO(file)) as image:
            return getattr(image, "n_frames", 1) > 1
    except (ImageError, OSError, SyntaxError):  # a damaged file, which is reported when it is decoded
        return False


def _is_gif(name: str) -> bool:
    return name.lower().endswith(".gif")


def _advice(others: Counter[str]) -> str:
    videos = sorted(suffix for suffix in VIDEOS if others[suffix])
    if not videos:
        return "a clip is an animated GIF, WebP or PNG, or a folder with an image for each frame"
    return (
        f"videos ({', '.join(videos)}) are not read; convert each, for example with `ffmpeg -i a{videos[0]} -vf fps=8 "
        "a.gif`"
    )
