"""Generated samples beside real ones, as metrics see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.plugin.extractor import Extractor, Features, MetricProtocol

T = TypeVar("T")


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
        extractor: Extractor | None,
        facts: MetricProtocol,
        real_features: Features | None = None,
        dataset_features: Callable[[], Features] | None = None,
    ) -> None:
        if min(len(real.images), len(fake.images)) < 2:
            raise InputError(
                f"{len(fake.images)} generated and {len(real.images)} real images cannot be compared; "
                "2 of each are wanted at least, and more say more"
            )
        self.real, self.fake, self._extractor = real, fake, extractor
        self.protocol: MetricProtocol = {**({} if extractor is None else extractor.facts), **facts}
        if real_features is not None:
            self.real_features = real_features
        self._everything_features = dataset_features
        self._made: dict[Hashable, Any] = {}

    @property
    def extractor(self) -> Extractor:
        """Feature extractor.

        Raises:
            InputError: the recipe has none.
        """
        if self._extractor is None:
            raise InputError("this metric needs features; choose an extractor: extractor.use = NAME")
        return self._extractor

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
    def real_is_whole_dataset(self) -> bool:
        """Whether there are no more real images than those compared with."""
        return self._everything_features is None

    @cached_property
    def dataset_features(self) -> Features:
        """Of all images that the real ones were chosen from, these among them."""
        return self.real_features if self._everything_features is None else self._everything_features()

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What measures share beyond features: computed for the first that asks, by a key that they agree on."""
        if key not in self._made:
            self._made[key] = compute()
        made: T = self._made[key]
        return made
