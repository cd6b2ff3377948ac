"""Generated images and real ones, as measures get to see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

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


def measured(measures: Iterable[Measure], comparison: Comparison) -> dict[str, float]:
    """What all measures say, by name. One that a comparison says nothing to (classes, without any) says nothing."""
    found: dict[str, float] = {}
    for measure in measures:
        found |= measure(comparison) or {}
    return found
