"""Spectrograms of sounds, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import sample_grid

WINDOW, HOP = 256, 64
"""Length and distance of the windows of a spectrogram, in samples, for sounds of at least 256 samples."""

RANGE = 60.0
"""Range of the loudness in a picture, in dB below the loudest value of all sounds."""

HEIGHT, WIDTH = 64, 96
"""Height and width of the picture of a sound, in pixels."""


def magnitudes(sounds: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Return the magnitudes of the short-time Fourier transform with a Hann window, (N, C, F, T).

    F is window / 2 + 1, from frequency 0 to half of the sample rate.

    Args:
        sounds: sounds, (N, C, L).
        window: length of a window, in samples. It is reduced to L for shorter sounds.
        hop: distance of two windows, in samples.
    """
    size = min(window, sounds.shape[2])
    hann = torch.hann_window(size, dtype=sounds.dtype, device=sounds.device)
    flat = torch.stft(sounds.flatten(0, 1), size, min(hop, size), window=hann, pad_mode="constant", return_complex=True)
    return flat.abs().unflatten(0, sounds.shape[:2])


def decibels(sounds: Tensor, range_: float = RANGE) -> Tensor:
    """Return the spectrograms of sounds (N, C, L) on a logarithmic scale, (N, C, F, T) in [-1, 1].

    1 is the loudest value of all sounds, and -1 is `range_` dB below it, or less.
    """
    power = magnitudes(sounds.float()).square()
    levels = 10 * (power / power.max().clamp_min(1e-12)).clamp_min(1e-12).log10()
    return (1 + 2 * levels / range_).clamp_min(-1)


def spectrograms(sounds: Tensor, columns: int, row_names: Sequence[str]) -> Image.Image:
    """Draw the spectrograms of sounds (N, C, L) in a grid. Time goes to the right, frequency upwards, dark is loud.

    The vertical axis ends at half of the sample rate. The channels of a sound are one below the other.

    Args:
        sounds: sounds in [-1, 1].
        columns: number of sounds in a row.
        row_names: names of the rows, or an empty sequence.
    """
    levels = -decibels(sounds).flip(2)
    size = (max(HEIGHT // sounds.shape[1], 16), WIDTH)
    pictures = interpolate(levels, size, mode="bilinear", antialias=True)
    return sample_grid(pictures.flatten(1, 2)[:, None], columns, row_names)
