"""Difference between the pitch of generated sounds and the pitch that was asked for."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from gankit import Comparison, InputError, Plugin, Settings, VectorCondition, hookimpl
from gankit_plugins.layers.sounds import PITCH, RATE, frequency_of, loudest_frequency


def semitones(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances of frequencies a and b in semitones: 12 |log2(a / b)|."""
    return 12 * (a.double() / b).log2().abs()


def original_values(rows: Tensor, described: VectorCondition, column: int) -> Tensor:
    """Return one number of a condition (N, K) in the user's units, (N,)."""
    values = rows[:, column].double()
    if not described.ranges:
        return values
    low, high = described.ranges[column]
    return low + (values + 1) / 2 * (high - low)


class PitchError(Plugin):
    """Distance of the pitch of generated sounds from the requested pitch, in semitones.

    The requested pitch is a number of the condition, a MIDI note number or a frequency. The pitch of a sound is the
    loudest frequency in its middle quarter. `pitch_error` is the median of the distances, so a few sounds with an
    overtone as the loudest frequency have little influence. `pitch_hits` is the proportion of the sounds with a
    distance of at most half a semitone.

    Source: none. The position of a peak between two frequencies is from Smith 1987.

    When to use: for data with a pitch, such as `tones`, or `sounds` with a column for the pitch in `labels.csv`.
    When not: for instruments whose fundamental is not the loudest frequency.
    """

    name = "pitch_error"
    kind = "metric"
    better: ClassVar = {"pitch_error": "lower", "pitch_hits": "higher"}

    class Config(Settings):
        attribute: str = Field(PITCH, description="name of the pitch in the condition")
        unit: Literal["note", "hz"] = Field("note", description="note: a MIDI note number, 69 is 440 Hz; hz: in Hz")

    config: Config

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        real, fake = comparison.real, comparison.fake
        if RATE not in real.encoding or not isinstance(fake.described, VectorCondition) or fake.condition is None:
            return None
        names = fake.described.names
        if self.config.attribute not in names:
            raise InputError(
                f"pitch_error: the condition has no {self.config.attribute!r}, but {', '.join(names)}; set attribute"
            )
        asked = original_values(fake.condition, fake.described, names.index(self.config.attribute))
        asked = frequency_of(asked) if self.config.unit == "note" else asked
        distance = semitones(loudest_frequency(fake.images, real.encoding[RATE]), asked)
        return {
            "pitch_error": distance.median().item(),
            "pitch_hits": (distance <= 0.5).double().mean().item(),
        }
