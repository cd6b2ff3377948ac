"""Pictures of sounds: spectrograms in a grid."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import sample_grid
from gankit_plugins.layers.sounds import magnitudes

WINDOW, HOP = 256, 64
"""Length and distance of the windows of a spectrogram, in samples."""

RANGE = 60.0
"""Range of the loudness in a picture, in dB below the loudest value of all sounds."""

FRAME = 0.6
"""Grey level of the frame of a picture, in [-1, 1]."""

HEIGHT, WIDTH = 64, 96
"""Height and width of the picture of a sound, in pixels."""


def decibels(sounds: Tensor, range_: float = RANGE) -> Tensor:
    """Return the spectrograms of sounds (N, C, L) on a logarithmic scale, (N, C, F, T) in [-1, 1].

    1 is the loudest value of all sounds, and -1 is `range_` dB below it, or less.
    """
    power = magnitudes(sounds.float(), WINDOW, HOP).square()
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
    # A frame separates neighbouring pictures, because the background is white.
    pictures[..., [0, -1], :] = pictures[..., [0, -1]] = FRAME
    return sample_grid(pictures.flatten(1, 2)[:, None], columns, row_names)
