"""Generated and real samples that metrics compare."""

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
    """N images with their classes, or with the classes that they were generated for."""

    images: Tensor
    """(N, C, R, R) uint8 on the CPU, or floating point in [-1, 1]."""

    labels: Tensor | None = None
    """(N,) int64."""

    class_names: tuple[str, ...] = ()
    """Names of the classes. Empty if the labels are classes of the extractor."""

    def digest(self) -> str:
        """Return a hash of the images and labels."""
        digest = hashlib.sha256(str((self.images.shape, self.images.dtype)).encode())
        for tensor in (self.images, self.labels):
            if tensor is not None:
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class Comparison:
    """Generated and real images, with their features. Values that several metrics need are computed once.

    Args:
        real: real images.
        fake: generated images.
        extractor: feature extractor of the recipe, or None.
        facts: facts of the protocol, without those of the extractor.
        real_features: features of the real images, if they are already computed.
        dataset_features: function that returns the features of the whole dataset. None if the real images are the whole
            dataset.

    Raises:
        InputError: there are fewer than 2 real or generated images.
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
                f"{len(fake.images)} generated and {len(real.images)} real images cannot be compared; at least 2 of "
                "each are needed, and many more for a reliable result"
            )
        self.real, self.fake, self._extractor = real, fake, extractor
        self.protocol: MetricProtocol = {**({} if extractor is None else extractor.facts), **facts}
        if real_features is not None:
            self.real_features = real_features
        self._dataset_features = dataset_features
        self._cache: dict[Hashable, Any] = {}

    @property
    def extractor(self) -> Extractor:
        """Feature extractor of the recipe. Raises InputError if the recipe has none."""
        if self._extractor is None:
            raise InputError("this metric needs features; choose an extractor: extractor.use = NAME")
        return self._extractor

    @cached_property
    def real_features(self) -> Features:
        """Features of the real images."""
        return self.extractor(self.real.images)

    @cached_property
    def fake_features(self) -> Features:
        """Features of the generated images."""
        return self.extractor(self.fake.images)

    @cached_property
    def real_logits(self) -> Tensor | None:
        """Logits of the real images for the extractor's classes, (N, K). None if it has no classes."""
        return self.extractor.logits_of(self.real.images, self.real_features)

    @cached_property
    def fake_logits(self) -> Tensor | None:
        """Logits of the generated images for the extractor's classes, (N, K). None if it has no classes."""
        return self.extractor.logits_of(self.fake.images, self.fake_features)

    @property
    def real_is_whole_dataset(self) -> bool:
        """True if the real images are the whole dataset."""
        return self._dataset_features is None

    @cached_property
    def dataset_features(self) -> Features:
        """Features of all images of the dataset that the real images come from."""
        return self.real_features if self._dataset_features is None else self._dataset_features()

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return `compute()`, computed once for each key. Metrics that use the same key share the value."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]
