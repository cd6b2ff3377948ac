"""WAV files: a reader for uncompressed samples, and a writer for 16 bits."""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit_plugins.data.brightness import ImageError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""Format codes of a WAV file: integers, floating-point numbers, and a format code that follows later in the chunk."""

FLOAT_TYPES = {4: torch.float32, 8: torch.float64}
"""Data type of a floating-point sample by its size in bytes."""


HIGHEST_RATE = 1_000_000
"""Highest sample rate of a file. A damaged header may have a higher rate, whose resampling filter exceeds memory."""


class SoundError(ImageError):
    """Error for a sound file that cannot be used."""


class Sound(NamedTuple):
    """Sound with its sample rate."""

    samples: Tensor
    """Samples, (C, L) float32 in [-1, 1]."""

    rate: int
    """Sample rate, in samples per second."""


def read_wav(data: bytes) -> Sound:
    """Read the content of a WAV file: 8, 16, 24 or 32-bit integers, or 32 or 64-bit floating-point numbers.

    Integers are divided by the absolute value of the smallest one. Floating-point numbers are limited to [-1, 1]. If
    the file is shorter than its header says, all samples that it contains are used.

    Source: IBM and Microsoft 1991 (Multimedia Programming Interface and Data Specifications 1.0); the extensible format
    is that of Microsoft 2001.

    Raises:
        SoundError: the data are not a WAV file, are compressed or damaged, or contain no samples.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise SoundError("not a WAV file")
    chunks = dict(_chunks(data))
    header, content = chunks.get(b"fmt "), chunks.get(b"data")
    if header is None or len(header) < 16 or content is None:
        raise SoundError("the WAV file is damaged: a chunk is missing")
    code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", header)
    if code == EXTENSIBLE and len(header) >= 26:
        (code,) = struct.unpack_from("<H", header, 24)
    if not channels or not 1 <= rate <= HIGHEST_RATE or block % channels:
        raise SoundError("the WAV file is damaged: its header has no valid number of channels or sample rate")
    width = block // channels
    count = len(content) // block if block else 0
    if not count:
        raise SoundError("the WAV file contains no samples")
    raw = torch.frombuffer(bytearray(content[: count * block]), dtype=torch.uint8)
    if code == PCM and 1 <= width <= 4:
        values = integers(raw, width)
    elif code == FLOAT and width in FLOAT_TYPES:
        values = raw.view(FLOAT_TYPES[width]).float()
        if not values.isfinite().all():
            raise SoundError("a sample is NaN or infinite")
        values = values.clamp(-1, 1)
    else:
        raise SoundError(f"the WAV file has format {code} with {bits} bits; save it with 16-bit integers")
    return Sound(values.view(count, channels).T.contiguous(), rate)


def integers(raw: Tensor, width: int) -> Tensor:
    """Return little-endian integers as float32 in [-1, 1].

    Args:
        raw: bytes of the integers, (N * width,) uint8.
        width: bytes of an integer, from 1 to 4. Integers of one byte are unsigned, with 128 as zero. All others are
            signed.
    """
    if width == 1:
        return (raw.float() - 128) / 128
    # Put the bytes at the top of a 32-bit integer. Then the sign is in its place for all widths.
    words = torch.zeros(len(raw) // width, 4, dtype=torch.uint8)
    words[:, 4 - width :] = raw.view(-1, width)
    return (words.view(torch.int32)[:, 0].double() / 2**31).float()


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and the content of each chunk of a RIFF file. The last one may be shorter than its header says."""
    view, position = memoryview(data), 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, view[position + 8 : position + 8 + size]
        position += 8 + size + size % 2  # chunks begin at even positions


def write_wav(path: Path, samples: Tensor, rate: int) -> None:
    """Write samples (C, L) in [-1, 1] to a WAV file with 16-bit integers. `rate` is in samples per second."""
    numbers = (samples.float().clamp(-1, 1) * 32767).round().to(torch.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(numbers.T.contiguous().numpy().astype("<i2").tobytes())
