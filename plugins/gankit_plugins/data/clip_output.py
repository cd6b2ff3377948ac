"""Output of generated video clips as animated GIF files. Data plugins with video share this module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl, to_bytes, to_image, write_gif


class ClipSettings(Settings):
    """Settings of all data plugins with video."""

    fps: float = Field(
        8.0, gt=0, le=50, description="frames per second of the GIF files that show generated clips; also for `sample`"
    )


class ClipData(Plugin):
    """Base class of data plugins with video (C, T, H, W), whose generated clips are written as GIF files."""

    kind = "data"

    Config = ClipSettings
    config: ClipSettings

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
        paths = [folder / f"{name}.gif" for name in names]
        for path, clip in zip(paths, to_bytes(samples), strict=True):
            write_gif(path, [to_image(frame) for frame in clip.transpose(0, 1)], self.config.fps)
        return paths
