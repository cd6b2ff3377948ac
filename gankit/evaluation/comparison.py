"""Generated images and real ones, as measures get to see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from gankit.errors import GankitError, InputError

T = TypeVar("T")

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

    logits: Callable[[Tensor], Tensor] | None = None
    """Images to (B, K) logits, where these cost a look of their own: it is taken when a measure asks for them."""

    @property
    def name(self) -> str:
        return str(self.facts.get("extractor", "extractor"))

    def __call__(self, images: Tensor) -> Features:
        """Features of all images, which are looked at in chunks.

        Raises:
            InputError: the extractor cannot look at such images, or makes something else of them than features.
            GankitError: a feature is no finite number.
        """
        parts = [self._features(chunk) for chunk in images.split(CHUNK)]
        values = torch.cat([self._checked(part.values, "features", "F") for part in parts])
        logits = [self._checked(part.logits, "logits", "K") for part in parts if part.logits is not None]
        if not values.isfinite().all():
            bad = int((~values.isfinite()).any(1).sum())
            raise GankitError(f"{self.name}: features of {bad} of {len(values)} images are no finite numbers")
        return Features(values, self._known(torch.cat(logits)) if logits else None)

    def logits_of(self, images: Tensor, features: Features) -> Tensor | None:
        """(N, K): those that came with the features, or by a look of their own; None for an extractor without any.

        Raises as a call does.
        """
        if features.logits is not None or self.logits is None:
            return features.logits
        chunks = images.split(CHUNK)
        return self._known(torch.cat([self._checked(self._look(self.logits, c), "logits", "K") for c in chunks]))

    def _features(self, images: Tensor) -> Features:
        found: Any = self._look(self.function, images)
        if not isinstance(found, Features):
            raise InputError(f"{self.name} gives a {type(found).__name__}; gankit.Features are wanted")
        return found

    def _look(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        try:
            return function(images)
        except GankitError:
            raise
        except Exception as error:  # a stranger's network may raise anything
            shape = "x".join(map(str, images.shape[1:]))
            raise InputError(f"{self.name} cannot look at images of {shape}: {_reason(error)}") from error

    def _checked(self, found: Any, what: str, width: str) -> Tensor:
        """What a look has given, on the CPU, one row for each image."""
        if not isinstance(found, Tensor) or found.dim() != 2:
            given = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"as {type(found).__name__}"
            raise InputError(f"{self.name} gives {what} {given}; a tensor (images, {width}) is wanted")
        return found.float().cpu()

    def _known(self, logits: Tensor) -> Tensor:
        # An infinite logit is a certain answer; one that is no number is none.
        if logits.isnan().any():
            raise GankitError(f"{self.name}: logits of {int(logits.isnan().any(1).sum())} images are no numbers")
        return logits


def _reason(error: Exception) -> str:
    """An error in a line. TorchScript tells its own story first, and what went wrong last."""
    lines = [line.removeprefix("RuntimeError: ") for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript" in lines[0] else lines[0]


@dataclass(frozen=True)
class Samples:
    """N images, and the classes that they are of or were asked for."""

    images: Tensor
    """(N, C, R, R) uint8 on the CPU, or floating point in [-1, 1]."""

    labels: Tensor | None = None
    """(N,) int64."""

    class_names: tuple[str, ...] = ()
    """Of the labels; left out, they are the classes of the extractor."""

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
        everything_features: gives the features of all images that the real ones were chosen from; left out, these are
            all there are.

    Raises InputError when there are too few images to compare.
    """

    def __init__(
        self,
        real: Samples,
        fake: Samples,
        extractor: Extractor,
        facts: Protocol,
        real_features: Features | None = None,
        everything_features: Callable[[], Features] | None = None,
    ) -> None:
        if min(len(real.images), len(fake.images)) < 2:
            raise InputError(
                f"{len(fake.images)} generated and {len(real.images)} real images cannot be compared; "
                "2 of each are wanted at least, and more say more"
            )
        self.real, self.fake, self.extractor = real, fake, extractor
        self.protocol: Protocol = {**extractor.facts, **facts}
        if real_features is not None:
            self.real_features = real_features
        self._everything_features = everything_features
        self._made: dict[Hashable, Any] = {}

    @cached_property
    def real_features(self) -> Features:
        return self.extractor(self.real.images)

    @cached_property
    def fake_features(self) -> Features:
        return self.extractor(self.fake.images)

    @cached_property
    def real_logits(self) -> Tensor | None:
        """(N, K) of the extractor's classes; None where it knows none."""
        return self.extractor.logits_of(self.real.images, self.real_features)

    @cached_property
    def fake_logits(self) -> Tensor | None:
        return self.extractor.logits_of(self.fake.images, self.fake_features)

    @property
    def real_is_everything(self) -> bool:
        """Whether there are no more real images than those compared with."""
        return self._everything_features is None

    @cached_property
    def everything_features(self) -> Features:
        """Of all images that the real ones were chosen from, these among them."""
        return self.real_features if self._everything_features is None else self._everything_features()

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What measures share beyond features: computed for the first that asks, by a key that they agree on."""
        if key not in self._made:
            self._made[key] = compute()
        made: T = self._made[key]
        return made


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
