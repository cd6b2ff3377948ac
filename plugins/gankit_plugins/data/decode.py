"""Functions that decode image files to images of one size. They run in worker processes.

This module does not import torch, so that the worker processes start fast.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image, ImageOps
from PIL import ImageFile as PillowFile

from gankit_plugins.data.brightness import (
    ImageError,
    Limits,
    check_grey,
    eight_bits,
    file_values,
    largest_value,
    scaled_values,
)

Size = tuple[int, int]
"""Height and width in pixels."""

Channels = Literal[1, 3, 4]
"""Number of channels: grey, colour, or colour with opacity."""

MODES: dict[Channels, str] = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""

MAX_PIXELS = 178_956_970
"""Maximum number of pixels in an image (half a GiB in RGB).

The limit is needed because even a small file can contain a huge image.
"""

MAX_BYTES = 1 << 30
"""Largest accepted size of an image file, in bytes. For a file in a zip file, this is the uncompressed size."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Pillow's names of the accepted file formats.

Pillow can read other formats, but some need external programs (Ghostscript for EPS), and others are not well tested.
"""

ImageFile = str | bytes
"""Path of an image file (str), or its content (bytes)."""

ClipFile = ImageFile | tuple[ImageFile, ...]
"""File of an animation, or a tuple with a file for each frame of a clip."""


@dataclass(frozen=True)
class ClipFrames:
    """Choice of the frames of a clip: the first frame and every `stride`-th frame after it, `count` frames in total."""

    count: int
    stride: int

    @property
    def indices(self) -> range:
        """Indices of the chosen frames."""
        return range(0, self.count * self.stride, self.stride)

    def check_length(self, length: int) -> None:
        """Raise `ImageError` if a clip with `length` frames is too short."""
        if length <= self.indices[-1]:
            raise ImageError(
                f"{length} frames, and {self.indices[-1] + 1} are needed for frames = {self.count} and stride = "
                f"{self.stride}"
            )


class Decoded(NamedTuple):
    """Pixels of a decoded image, (channels, height, width), and the largest value of a 16-bit image."""

    pixels: bytes
    """Pixels as uint8, or as float32 if a range of values is given."""

    peak: int | None
    """Largest value of a 16-bit image, without its alpha channel. None for all other images."""


def check_size(size: int) -> None:
    """Raise `ImageError` if the size of a file, in bytes, exceeds `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise ImageError(f"the file has {size} bytes; at most {MAX_BYTES} are read")


def note(channels: Channels, size: Size, crop: int | None = None, limits: Limits | None = None) -> str:
    """Return a short description of how `decode` processes images.

    `gankit prepare` writes the description to the file of prepared images.
    """
    part = "centre square" if size[0] == size[1] else "centre rectangle"
    if crop is not None:
        part += f" of {crop} pixels"
    values = "with opacity" if channels == 4 else "over white"
    if limits is not None:
        values = f"values from {limits[0]:g} to {limits[1]:g}"
    return f"upright by EXIF, {part}, {values}, Lanczos"


def decode(
    data: bytes, size: Size, channels: Channels, crop: int | None = None, limits: Limits | None = None
) -> Decoded:
    """Decode the content of an image file to an image of the given height and width.

    The image is rotated according to its EXIF data, and cropped to its largest centred rectangle with the aspect ratio
    of `size`. Transparent areas become white. With four channels, they stay transparent, and their colour is black. The
    rectangle is resized with Pillow's Lanczos filter, which applies antialiasing when it downsizes an image. Smaller
    images are enlarged. 16-bit values are divided by 257 to get 8 bits. Colours are converted to grey by ITU-R BT.601.
    Only the first frame of an animation is used. Colour profiles are ignored.

    If `crop` is given, the centred square with this side, in pixels, is cropped before the rectangle.

    If `limits` is given, the image must be grey. Its values keep their full precision, and the limits become -1 and 1.
    The Lanczos filter can exceed the limits at edges. The result is not clipped, and may have NaN if the file has NaN.

    Raises:
        RangeError: a value is outside of `limits`.
        ImageError: the file is not an image, is damaged or too large, has values without a known range, or is smaller
            than `crop`.
    """
    with _opened(data) as image:
        width, height = image.size
        if limits is None:
            values = file_values(image, data)
        else:
            check_grey(image)
        if crop is not None and crop > min(width, height):
            raise ImageError(f"the image has {width} x {height} pixels; the crop needs {crop} x {crop}")
        # Decode a JPEG at 1/2, 1/4 or 1/8 of its size, which is faster. The sides of the centred rectangle stay at
        # least twice as long as the sides of `size`, even if the image is rotated afterwards. If `crop` is given,
        # decode at full size.
        if crop is None and limits is None:
            scale = 2 * max(size) / min(width, height)
            image.draft("L" if channels == 1 else None, (round(width * scale), round(height * scale)))
        upright = ImageOps.exif_transpose(image)
        if crop is not None:
            left, top = (upright.width - crop) // 2, (upright.height - crop) // 2
            upright = upright.crop((left, top, left + crop, top + crop))
        part = upright.crop(centre_box(upright.size, size))
        if limits is not None:
            numbers = scaled_values(part, limits).resize(size[::-1], Image.Resampling.LANCZOS)
            return Decoded(numbers.tobytes(), None)
        peak = largest_value(part, values) if values.sixteen_bits else None
        pixels = eight_bits(part, values, MODES[channels]).resize(size[::-1], Image.Resampling.LANCZOS)
    return Decoded(_planes(pixels), peak)


def decode_clip(data: bytes | Sequence[bytes], size: Size, channels: Channels, frames: ClipFrames) -> Decoded:
    """Decode the chosen frames of a clip, each as `decode` decodes an image. Return pixels (T, channels, H, W).

    Args:
        data: content of an animation (GIF, WebP or PNG), or the contents of the image files of the chosen frames.
        size: height and width of the result.
        channels: number of channels of the result.
        frames: chosen frames.

    Raises:
        ImageError: the clip is too short, or a file cannot be used.
    """
    if not isinstance(data, bytes):
        return Decoded(b"".join(decode(frame, size, channels).pixels for frame in data), None)
    pixels = []
    with _opened(data) as image:
        frames.check_length(getattr(image, "n_frames", 1))
        values = file_values(image, data)
        box = centre_box(image.size, size)
        for index in frames.indices:
            image.seek(index)
            frame = eight_bits(image.crop(box), values, MODES[channels])
            pixels.append(_planes(frame.resize(size[::-1], Image.Resampling.LANCZOS)))
    return Decoded(b"".join(pixels), None)


@contextmanager
def _opened(data: bytes) -> Iterator[PillowFile.ImageFile]:
    """Open the content of an image file (a context manager). Errors in the context become `ImageError`."""
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"the image has {width} x {height} pixels; at most {MAX_PIXELS} are read")
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"the image is too large; at most {MAX_PIXELS} pixels are read") from None
    except Image.UnidentifiedImageError:
        raise ImageError("not an image, or not of a supported format") from None
    except Exception as error:  # for damaged files, Pillow raises exceptions of many types
        raise ImageError(" ".join(str(error).split()) or type(error).__name__) from error


def _planes(image: Image.Image) -> bytes:
    """Return the pixels of an image, one channel after the other."""
    return b"".join(band.tobytes() for band in image.split())


def centre_box(image_size: tuple[int, int], size: Size) -> tuple[int, int, int, int]:
    """Return the largest centred box with the aspect ratio of `size`, as left, top, right and bottom in pixels.

    `image_size` is the width and height of the image.
    """
    (width, height), (rows, columns) = image_size, size
    factor = min(width / columns, height / rows)
    box_width, box_height = max(1, round(columns * factor)), max(1, round(rows * factor))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height


@cache
def _formats() -> list[str]:
    """Return the names of the accepted file formats that the installed Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


# Functions for worker processes. `decode_batch` also runs in the parent process if there is only one batch.

_stop = ctypes.c_bool(False)
"""Flag in shared memory. The parent process sets it to True when it no longer needs the results."""


def start_worker(stop: ctypes.c_bool) -> None:
    """Initialise a worker process. The worker shares the flag `stop` with its parent, and exits if the parent dies."""
    global _stop
    _stop = stop
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Wait until the parent process has ended, then exit. Without this function, an idle worker would run forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in worker processes only"
    parent.join()
    os._exit(1)


def decode_batch(
    files: Sequence[ClipFile | ImageError],
    size: Size,
    channels: Channels,
    crop: int | None = None,
    limits: Limits | None = None,
    frames: ClipFrames | None = None,
) -> list[Decoded | ImageError]:
    """Decode several files, or several clips if `frames` is given.

    For each file or clip, return the decoded image or frames, or an error if it cannot be used.
    """
    with warnings.catch_warnings():
        # Suppress Pillow's warnings about images with more than `MAX_PIXELS` / 2 pixels and about unusual EXIF data.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return [_decode_or_error(file, size, channels, crop, limits, frames) for file in files]


def _decode_or_error(
    file: ClipFile | ImageError,
    size: Size,
    channels: Channels,
    crop: int | None,
    limits: Limits | None,
    frames: ClipFrames | None,
) -> Decoded | ImageError:
    if isinstance(file, ImageError):
        return file
    try:
        if _stop.value:
            raise ImageError("cancelled")
        if frames is not None:
            content = tuple(map(_content, file)) if isinstance(file, tuple) else _content(file)
            return decode_clip(content, size, channels, frames)
        assert not isinstance(file, tuple), "only clips consist of several files"
        return decode(_content(file), size, channels, crop, limits)
    except (ImageError, OSError) as error:
        # Return a new error without the original cause, because the cause may not be picklable.
        return (type(error) if isinstance(error, ImageError) else ImageError)(str(error))


def _content(file: ImageFile) -> bytes:
    """Return the content of a file. Raise `ImageError` if the file is too large."""
    if isinstance(file, bytes):
        return file
    check_size(os.stat(file).st_size)
    return Path(file).read_bytes()
