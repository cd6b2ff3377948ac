"""Dataset of sounds drawn by rule: tones, rising chirps and drums, of known pitch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import ClassCondition, Condition, Dataset, Settings, VectorCondition, hookimpl
from gankit_plugins.data.sound_output import SoundOutput
from gankit_plugins.layers.sounds import PITCH, RATE, frequency_of

Kind = Literal["tone", "chirp", "drum"]

KINDS: tuple[Kind, ...] = ("tone", "chirp", "drum")


def tone(t: Tensor, f: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Return tones with three overtones of 1/k the loudness: the sum of sin(2 pi k f t) / k for k = 1 to 4."""
    return sum(((2 * math.pi * k * (f * t + phase)).sin() / k for k in range(1, 5)), torch.zeros(1)) / 1.6


def chirp(t: Tensor, f: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Return chirps whose frequency rises by an octave. It is f in the middle: f 2^(t/T - 1/2), with the duration T."""
    duration = t[-1] + t[1]
    cycles = f * duration / math.log(2) * (2 ** (t / duration - 0.5) - 2**-0.5)
    return (2 * math.pi * (cycles + phase)).sin()


def drum(t: Tensor, f: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Return drums: a sine that falls to 1/e in a quarter of the duration, and a burst of noise at the beginning."""
    duration = t[-1] + t[1]
    return (-4 * t / duration).exp() * (2 * math.pi * (f * t + phase)).sin() * 0.8 + (-60 * t / duration).exp() * noise


DRAW: dict[Kind, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {"tone": tone, "chirp": chirp, "drum": drum}
"""Functions that draw each kind of sound.

They take times t (L,) in seconds, frequencies f (n, 1) in Hz, phases (n, 1) in cycles and noise (n, L) in [-1, 1], and
return sounds (n, L).
"""


class Tones(SoundOutput):
    """Sounds drawn by rule: tones with overtones, rising chirps, and drums.

    The pitch is uniform between two MIDI note numbers (69 is 440 Hz, and a step of 1 is a semitone). It is the
    frequency of a tone or a drum, and the frequency in the middle of a chirp, which rises by an octave. Loudness and
    phase are random. The condition is the kind and the pitch as a vector, such as `--set kind=drum --set pitch=60`, or
    only the kind as a class. The same seed gives the same sounds.

    Source: none.

    When to use: for tests of a recipe for audio without a download. The metric `pitch_error` measures how well the
    generator follows the pitch.
    When not: for conclusions about music or speech.
    """

    name = "tones"

    class Config(Settings):
        kinds: tuple[Kind, ...] = Field(KINDS, min_length=1, description="kinds of sounds, in equal numbers")
        count: int = Field(3000, ge=2, le=10_000_000, description="number of sounds")
        sample_rate: int = Field(8000, ge=100, le=1_000_000, description="samples per second")
        length: int = Field(4096, ge=16, le=1 << 26, description="number of samples of a sound")
        pitch: tuple[float, float] = Field((55.0, 79.0), description="lowest and highest MIDI note number")
        condition: Literal["kind", "kind_and_pitch"] = Field(
            "kind_and_pitch", description="kind: classes; kind_and_pitch: numbers, one for each kind and the pitch"
        )
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the sounds; independent of the run's seed")

        @model_validator(mode="after")
        def _in_range(self) -> Tones.Config:
            if not 0 <= self.pitch[0] < self.pitch[1] <= 127:
                raise ValueError("pitch: give a low and a higher MIDI note number, such as [55, 79], from 0 to 127")
            # An overtone or the end of a chirp above half of the sample rate would have another pitch (aliasing).
            if frequency_of(torch.tensor(self.pitch[1])) * 4 >= self.sample_rate / 2:
                raise ValueError("pitch: four times the highest frequency must be below half of the sample rate")
            if len(set(self.kinds)) < len(self.kinds):
                raise ValueError("kinds: each kind may be listed once")
            return self

    config: Config

    @property
    def condition(self) -> Condition:
        """Condition of the sounds: the kind, or the kind and the pitch."""
        c = self.config
        if c.condition == "kind":
            return ClassCondition(c.kinds)
        names = (PITCH, *(f"kind={kind}" for kind in c.kinds))
        return VectorCondition(names, (c.pitch, *[(0.0, 1.0)] * len(c.kinds)))

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset((1, c.length), self.condition, self.draw_all, encoding={RATE: c.sample_rate})

    def draw_all(self) -> tuple[Tensor, Tensor]:
        """Draw all sounds. Return sounds (count, 1, length) float32 in [-1, 1], and their condition."""
        c = self.config
        random = torch.Generator().manual_seed(c.seed)
        labels = torch.arange(c.count) % len(c.kinds)
        low, high = c.pitch
        note = low + (high - low) * torch.rand(c.count, 1, generator=random)
        loudness, phase = torch.rand(2, c.count, 1, generator=random)
        t = torch.arange(c.length) / c.sample_rate
        sounds = torch.empty(c.count, c.length)
        for label, kind in enumerate(c.kinds):
            own = labels == label
            noise = 2 * torch.rand(int(own.sum()), c.length, generator=random) - 1
            sounds[own] = DRAW[kind](t, frequency_of(note[own]), phase[own], noise)
        sounds = (sounds * (0.5 + 0.4 * loudness)).clamp(-1, 1)[:, None]
        condition = self.condition
        if not isinstance(condition, VectorCondition):
            return sounds, labels
        kinds = torch.nn.functional.one_hot(labels, len(c.kinds))
        return sounds, condition.scaled(torch.cat([note, kinds], 1))
