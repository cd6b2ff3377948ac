"""Output of generated sounds, shared by the data plugins for audio: pictures and WAV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.data.spectrogram import spectrograms
from gankit_plugins.data.wav import write_wav


class SoundSettings(Settings):
    """Settings of all data plugins for audio."""

    sample_rate: int = Field(16_000, ge=1, le=1_000_000, description="samples per second")
    length: int = Field(16_384, ge=16, le=1 << 26, description="number of samples of a sound")


class SoundOutput(Plugin):
    """Base class of data plugins for audio: pictures of sounds are spectrograms, and files of sounds are WAV files.

    The sample rate is a setting, so it is in the generator file.
    """

    kind = "data"

    Config = SoundSettings
    config: SoundSettings

    @hookimpl
    def draw_samples(self, images: Tensor, columns: int, row_names: Sequence[str]) -> Image.Image:
        return spectrograms(images, columns, row_names)

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
        paths = [folder / f"{name}.wav" for name in names]
        for path, sample in zip(paths, samples, strict=True):
            write_wav(path, sample, self.config.sample_rate)
        return paths
