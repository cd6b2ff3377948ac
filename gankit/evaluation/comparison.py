"""Generated images and real ones, as measures get to see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.errors import GankitError, InputError

CHUNK = 256
"""Images that an extractor sees at once."""

Protocol = Mapping[str, str | int | float]
"""How numbers came about, fact by fact. Numbers compare only where their protocols are equal."""


class Features(NamedTuple):
    """What an extractor makes of N images."""

    values: Tensor
    """(N, F) float32 on the CPU."""

    logits: Tensor | None = None
    """(N, K) of the extractor's own classes; None when it knows none."""


@dataclass(frozen=True)
class Extractor:
    """Images to features."""

    facts: Protocol
    """What goes on record beside every number: the extractor with a hash of its weights, and how images are resized."""

    function: Callable[[Tensor], Features]
    """Takes (B, C, R, R) images, uint8 or, where the data are no pictures, floating point in [-1, 1]."""

    class_names: tuple[str, ...] = ()
    """Of the logits, where these are the classes of the dataset."""

    def __call__(self, images: Tensor) -> Features:
        """Features of all images, which are looked at in chunks."""
        parts = [self.function(chunk) for chunk in images.split(CHUNK)]
        logits = [part.logits for part in parts if part.logits is not None]
        values = torch.cat([part.values.float().cpu() for part in parts])
        return Features(values, torch.cat(logits).float().cpu() if logits else None)


@dataclass(frozen=True)
class Samples:
    """N images, and the classes that they are of or were asked for."""

    images: Tensor
    """(N, C, R, R) uint8 on the CPU, or floating point in [-1, 1]."""

    labels: Tensor | None = None
    """(N,) int64."""

    class_names: tuple[str, ...] = ()
    """Of the labels, in their order; empty without labels."""

    def digest(self) -> str:
        """A hash of the images and labels."""
        seen = hashlib.sha256(str((self.images.shape, self.images.dtype)).encode())
        for tensor in (self.images, self.labels):
            if tensor is not None:
                seen.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return seen.hexdigest()


class Comparison:
    """Generated images against real ones; what several measures need is computed once.

    Args:
        real, fake: the images.
        extractor: to features.
        facts: of the protocol, beside the extractor's.
        real_features: those of the real images, where they are known already.
    """

    def __init__(
        self, real: Samples, fake: Samples, extractor: Extractor, facts: Protocol, real_features: Features | None = None
    ) -> None:
        self.real, self.fake, self.extractor = real, fake, extractor
        self.protocol: Protocol = {**extractor.facts, **facts}
        if real_features is not None:
            self.real_features = real_features

    @cached_property
    def real_features(self) -> Features:
        return self.extractor(self.real.images)

    @cached_property
    def fake_features(self) -> Features:
        return self.extractor(self.fake.images)


Measure = Callable[[Comparison], Mapping[str, float] | None]


class Measured(NamedTuple):
    """What measures said, each known by its place in the recipe."""

    numbers: dict[str, float]
    said_by: dict[str, str]
    """The measure that a number came from: `{"precision": "measures.precision_recall"}`."""

    silent: list[str]
    """Those that a comparison says nothing to: classes, without any."""

    failed: dict[str, GankitError]
    """Those that could not be taken, and why."""

    def or_refused(self) -> Measured:
        """The same; raises InputError, a line for each, when a measure could not be taken."""
        if self.failed:
            raise InputError("\n".join(f"{key}: {error}" for key, error in self.failed.items()))
        return self


def measured(measures: Mapping[str, Measure], comparison: Comparison) -> Measured:
    """Takes all measures, by their places. Where one cannot be taken, the others still are."""
    found = Measured({}, {}, [], {})
    for key, measure in measures.items():
        try:
            said = measure(comparison)
        except GankitError as error:
            found.failed[key] = error
            continue
        if not said:
            found.silent.append(key)
            continue
        for name, value in said.items():
            # The same measure may stand in a recipe twice; its second number is told by its place.
            own = f"{key}.{name}" if name in found.numbers else name
            found.numbers[own], found.said_by[own] = value, key
    return found
