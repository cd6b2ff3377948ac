"""Writing of MP4 videos with ffmpeg, through the optional package imageio-ffmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from gankit.errors import InputError
from gankit.storage.atomic_io import TEMPORARY, disk_errors

QUALITY = 9
"""Quality of the compression, from 0 to 10. Higher values are better.

Enlarged small images have sharp edges, which need a high quality.
"""


def require_ffmpeg(option: str, out: Path) -> None:
    """Raise InputError if the package imageio-ffmpeg or the program ffmpeg is missing."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise InputError(
            f"{option} {out}: imageio-ffmpeg is not installed, which writes MP4; run `pip install 'gankit[video]'`, or "
            "choose a name that ends in .gif"
        ) from None


def even(image: Image.Image) -> Image.Image:
    """Return an RGB image with an even width and height, as MP4 requires. White pixels are added where necessary."""
    width, height = (side + side % 2 for side in image.size)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(image, (0, 0))
    return sheet


def check_video(path: Path) -> None:
    """Raise OSError if a video file cannot be read.

    This check is necessary because ffmpeg reports no error if it fails at the end of the file.
    """
    import imageio_ffmpeg

    try:
        imageio_ffmpeg.count_frames_and_secs(path)
    except RuntimeError:
        raise OSError("ffmpeg did not write all of it; the disk may be full") from None


def write_mp4(path: Path, frames: Iterable[Image.Image], fps: int) -> None:
    """Write an MP4 file (H.264). If writing fails, an existing file is kept. The frames are read one at a time.

    Args:
        path: file to write.
        frames: images of equal size.
        fps: frames per second.
    """
    import imageio_ffmpeg

    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    writer = None
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # ffmpeg does not report why it cannot write a file. Create the file in Python first, because Python reports
            # the reason.
            temporary.touch()
            for frame in map(even, frames):
                if writer is None:
                    writer = imageio_ffmpeg.write_frames(
                        temporary, frame.size, fps=fps, quality=QUALITY, macro_block_size=2, ffmpeg_log_level="error"
                    )
                    writer.send(None)
                writer.send(frame.tobytes())
            assert writer is not None, "a video has frames"
            writer.close()
            check_video(temporary)
            os.replace(temporary, path)
        except BaseException:
            if writer is not None:
                writer.close()
            temporary.unlink(missing_ok=True)
            raise
