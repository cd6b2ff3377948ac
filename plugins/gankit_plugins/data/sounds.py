"""Dataset of the user's own sounds, from a folder, a zip file or a file written by `gankit prepare`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from rich.progress import MofNCompleteColumn
from torch import Tensor
from torch.nn.functional import pad

from gankit import Dataset, InputError, RecipePath, Settings, hookimpl, progress_bar, read_prepared
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import ImageFile, check_size
from gankit_plugins.data.folder import open_files
from gankit_plugins.data.images import PREPARED, BadLimit, Outcome, with_classes
from gankit_plugins.data.listing import Listing, as_listed, list_images
from gankit_plugins.data.resample import resample
from gankit_plugins.data.sound_output import SoundOutput
from gankit_plugins.data.wav import read_wav
from gankit_plugins.layers.sounds import RATE

EXTENSIONS = "wav wave"
SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS.split())

SAMPLE_RATE, LENGTH, CHANNELS = 16_000, 16_384, 1

CHUNK = 256
"""Number of sounds in a chunk."""


class Sounds(SoundOutput):
    """Your own sounds: WAV files in a folder (with or without a subfolder for each class) or a zip file.

    Files may have any sample rate, 8, 16, 24 or 32-bit integers or floating-point numbers, and any number of channels.
    They are converted to `sample_rate` by a windowed sinc filter. If `channels` is 1, all channels of a file are
    averaged. If it is 2, a mono file has the same sound in both channels. Sounds are cut or padded with silence at the
    end to `length` samples. With `pieces`, a long file gives several sounds, one after the other, and a rest shorter
    than `length` is left out. Loudness is not changed. Damaged files are skipped up to a limit, and a message names
    them.

    Class folders and files with labels are read as in the plugin `images`: `labels.csv` may have classes, or attributes
    such as a pitch as the condition. `gankit prepare sounds --out FILE path=...` writes a prepared file.

    Grids show spectrograms. Generated sounds are written as 16-bit WAV files with the sample rate of the dataset.

    Source: none. The sample rate and the length of one second are those of Donahue 2019.

    When to use: for your own short sounds, such as words, drums and effects.
    When not: for MP3, FLAC and other compressed files, which must be converted to WAV first.
    """

    name = "sounds"

    class Config(Settings):
        path: RecipePath = Field(description="a folder, a zip file or a prepared .safetensors file")
        sample_rate: int | None = Field(
            None,
            ge=1,
            le=1_000_000,
            description=f"samples per second; default: {SAMPLE_RATE}, or that of the prepared file",
        )
        length: int | None = Field(
            None,
            ge=16,
            le=1 << 26,
            description=f"samples of a sound; default: {LENGTH}, or that of the prepared file",
        )
        channels: Literal[1, 2] | None = Field(
            None, description=f"1: mono, 2: stereo; default: {CHANNELS}, or that of the prepared file"
        )
        pieces: bool = Field(False, description="true: a long file gives several sounds; false: only its beginning")
        classes: bool | None = Field(
            None,
            description="false to ignore labels and folders; true if a single folder is a class; default: classes if "
            "there are labels or several folders",
        )
        bad_limit: BadLimit = 0.01

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        path = self.config.path
        if path.suffix == PREPARED and not path.is_dir():
            return prepared_sounds(self.config)
        with open_files(path, SUFFIXES) as files:
            listing = list_images(files, self.config.classes, path, "sounds", EXTENSIONS)
        c = self.config
        form = Form(c.sample_rate or SAMPLE_RATE, c.length or LENGTH, c.channels or CHANNELS, c.pieces)
        return SoundFiles(path, listing, form, c.bad_limit).dataset()


def prepared_sounds(config: Sounds.Config) -> Dataset:
    """Return the dataset in a file written by `gankit prepare`.

    Raises:
        InputError: the file contains no sounds, or does not match the settings.
    """
    path, dataset = config.path, read_prepared(config.path)
    if len(dataset.shape) != 2 or RATE not in dataset.encoding:
        raise InputError(f"path: {path} has no sounds, but samples of shape {dataset.shape}; prepare the sounds again")
    for key, requested, actual in (
        ("sample_rate", config.sample_rate, dataset.encoding[RATE]),
        ("length", config.length, dataset.shape[1]),
        ("channels", config.channels, dataset.channels),
    ):
        if requested not in (None, actual):
            raise InputError(
                f"{key}: the sounds in {path} have {key} {actual}, and the recipe requests {requested}; remove the "
                "setting, or prepare the sounds again"
            )
    return with_classes(dataset, config)


@dataclass(frozen=True)
class Form:
    """Form to which all sounds of a dataset are converted."""

    rate: int
    length: int
    channels: int
    pieces: bool
    """True if a long file gives several sounds, false if only its beginning is used."""

    def sounds_of(self, data: bytes) -> list[Tensor]:
        """Convert the content of a WAV file to sounds (channels, length).

        Raises:
            SoundError: the content cannot be used.
        """
        samples, rate = read_wav(data)
        mixed = samples.mean(0, keepdim=True) if self.channels == 1 else samples[:2].expand(2, -1)
        # The filter may exceed the range at steep edges.
        sound = resample(mixed, rate, self.rate, None if self.pieces else self.length).clamp(-1, 1)
        whole = sound.shape[1] // self.length * self.length
        if not whole:
            return [pad(sound, (0, self.length - sound.shape[1]))]
        return list(sound[:, :whole].split(self.length, 1))


@dataclass(frozen=True)
class SoundFiles:
    """Sound files that are read each time the dataset is loaded."""

    path: Path
    listing: Listing
    form: Form
    bad_limit: float

    def dataset(self) -> Dataset:
        """Return the dataset without reading any sound."""
        form, total = self.form, self.listing.total
        return Dataset(
            (form.channels, form.length),
            self.listing.condition,
            self.load,
            # The number of sounds is known in advance only if each file gives one sound.
            None if form.pieces else self.stream,
            None if form.pieces else total,
            note=f"{form.rate} Hz, windowed sinc, {'pieces' if form.pieces else 'beginning'} of {form.length} samples",
            contents=f"{total:,} sound files",
            encoding={RATE: form.rate},
        )

    def load(self) -> tuple[Tensor, Tensor | None]:
        """Return sounds, (N, C, L) float32, and their condition. If stderr is a terminal, show a progress bar."""
        chunks = []
        with progress_bar(f"reading {self.path.name}", self.listing.total, MofNCompleteColumn()) as bar:
            for sounds, condition in self.stream():
                chunks.append((sounds, condition))
                bar.advance(bar.task_ids[0], len(sounds))
        rows = [condition for _, condition in chunks if condition is not None]
        return torch.cat([sounds for sounds, _ in chunks]), torch.cat(rows) if rows else None

    def stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read the files, and yield sounds and their condition in chunks. The data are the same as in `load`.

        Raises:
            InputError: too many files are unusable, a class has no usable file, or files were added or removed since
                they were listed.
        """
        listing, outcome = self.listing, Outcome(self.path, self.listing, self.bad_limit, "sounds")
        sounds: list[Tensor] = []
        indices: list[int] = []
        with open_files(self.path, SUFFIXES) as files:
            for name in as_listed(files.names(), listing, self.path):
                try:
                    own = self.form.sounds_of(content(files.open(name)))
                except ImageError as error:
                    outcome.add_unusable(name, error)
                    continue
                outcome.add(listing.class_of(name), None)
                sounds += own
                if (index := listing.index_of(name)) is not None:
                    indices += [index] * len(own)
                if len(sounds) >= CHUNK:
                    yield torch.stack(sounds), listing.rows_of(indices)
                    sounds, indices = [], []
        outcome.finish()
        if sounds:
            yield torch.stack(sounds), listing.rows_of(indices)


def content(file: ImageFile | tuple[ImageFile, ...]) -> bytes:
    """Return the content of a file, given by its path or its content. Raise `ImageError` if it is too large."""
    assert not isinstance(file, tuple), "only video clips consist of several files"
    if isinstance(file, bytes):
        return file
    check_size(os.stat(file).st_size)
    return Path(file).read_bytes()
