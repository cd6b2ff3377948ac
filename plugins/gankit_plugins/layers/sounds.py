"""Spectrum and pitch of sounds."""

from __future__ import annotations

import torch
from torch import Tensor

RATE = "sample_rate"
"""Key of the sample rate, in samples per second, in the encoding of a dataset of sounds."""

PITCH = "pitch"
"""Usual name of the pitch in a condition, a MIDI note number."""

MIDDLE = 0.25
"""Length of the middle part of a sound in which the pitch is measured, as a proportion of the sound."""

PADDING = 4
"""Factor by which zeros lengthen a sound before its spectrum is computed, for a finer grid of frequencies."""


def frequency_of(note: Tensor) -> Tensor:
    """Return the frequency in Hz of MIDI note numbers: 440 * 2^((note - 69) / 12). A step of 1 is a semitone."""
    return 440 * 2 ** ((note - 69) / 12)


def magnitudes(sounds: Tensor, window: int, hop: int) -> Tensor:
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


def loudest_frequency(sounds: Tensor, rate: int) -> Tensor:
    """Return the frequency of the highest peak in the spectrum of sounds, (N,) in Hz.

    The spectrum is that of the middle part of the sound, with a Hann window. A parabola through the logarithms of the
    peak and its two neighbours gives the position between the frequencies of the transform.

    Source: Smith 1987 (PARSHL), section on peak interpolation.

    Args:
        sounds: sounds, (N, C, L). The channels are averaged.
        rate: sample rate, in samples per second.
    """
    mono = sounds.double().mean(1)
    length = max(int(MIDDLE * mono.shape[1]), min(16, mono.shape[1]))
    begin = (mono.shape[1] - length) // 2
    part = mono[:, begin : begin + length]
    part = (part - part.mean(1, keepdim=True)) * torch.hann_window(length, dtype=part.dtype, device=part.device)
    size = PADDING * length
    levels = torch.fft.rfft(part, size).abs().clamp_min(1e-12).log()
    peak = levels[:, 1:-1].argmax(1) + 1
    left, top, right = (levels.gather(1, (peak + shift)[:, None])[:, 0] for shift in (-1, 0, 1))
    # The offset of a parabola's vertex. Equal levels, as in silence, have no vertex.
    offset = (left - right) / (2 * (left - 2 * top + right)).clamp_max(-1e-12)
    return (peak + offset.clamp(-0.5, 0.5)) * rate / size
