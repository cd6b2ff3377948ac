"""Output of generated video clips as animated GIF files. Data plugins with video share this module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl, sample_grid, to_bytes, to_image, write_gif


class ClipSettings(Settings):
    """Settings of all data plugins with video."""

    fps: float = Field(
        8.0, gt=0, le=50, description="frames per second of the GIF files that show generated clips; also for `sample`"
    )


def moving_grid(clips: Tensor, condition: Tensor | None, class_names: Sequence[str]) -> list[Image]:
    """Return the frames of a grid in which all clips (N, C, T, H, W) move at the same time.

    If the labels contain several classes, and each of them equally often, there is one row for each class.
    """
    columns, row_names = max(1, round(len(clips) ** 0.5)), list[str]()
    if class_names and condition is not None:
        shown, counts = condition.unique(return_counts=True)
        if len(shown) > 1 and len(counts.unique()) == 1:
            clips, columns = clips[condition.argsort(stable=True)], int(counts[0])
            row_names = [class_names[label] for label in shown.tolist()]
    return [sample_grid(frames, columns, row_names) for frames in clips.unbind(2)]


class ClipData(Plugin):
    """Base class of data plugins with video (C, T, H, W), whose generated clips are written as GIF files."""

    kind = "data"
    sample_suffixes = (".gif",)

    Config = ClipSettings
    config: ClipSettings

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
        paths = [folder / f"{name}.gif" for name in names]
        for path, clip in zip(paths, to_bytes(samples), strict=True):
            write_gif(path, [to_image(frame) for frame in clip.transpose(0, 1)], self.config.fps)
        return paths

    @hookimpl
    def save_sample_file(self, samples: Tensor, condition: Tensor | None, path: Path, spec: Spec) -> Path:
        write_gif(path, moving_grid(samples, condition, spec.class_names), self.config.fps)
        return path
