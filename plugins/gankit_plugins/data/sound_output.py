"""Output of generated sounds, shared by the data plugins for audio: pictures and WAV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from gankit import Plugin, Spec, hookimpl
from gankit_plugins.data.spectrogram import spectrograms
from gankit_plugins.data.wav import write_wav
from gankit_plugins.layers.sounds import RATE


class SoundOutput(Plugin):
    """Base class of data plugins for audio: pictures of sounds are spectrograms, and files of sounds are WAV files.

    The encoding of the dataset has the sample rate, so the generator file has it too.
    """

    kind = "data"

    @hookimpl
    def draw_samples(self, images: Tensor, columns: int, row_names: Sequence[str]) -> Image.Image:
        return spectrograms(images, columns, row_names)

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path, spec: Spec) -> list[Path]:
        paths = [folder / f"{name}.wav" for name in names]
        for path, sample in zip(paths, samples, strict=True):
            write_wav(path, sample, spec.encoding[RATE])
        return paths
