"""Input of the metrics: real images, generated images, and their features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.plugin.condition import ClassCondition, Condition
from gankit.plugin.extractor import Extractor, Features, MetricProtocol

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Set of N real or generated images with their condition.

    The condition of generated images is the condition that G took as input.
    """

    images: Tensor
    """Images, (N, C, H, W) uint8, on the CPU. Other data, such as 2D points, are floating point in [-1, 1]."""

    condition: Tensor | None = None
    """Condition of the images, (N, ...), such as labels (N,) int64. None for images without a condition."""

    described: Condition | None = None
    """Description of `condition`. If None, `condition` contains indices of the extractor's classes."""

    encoding: Mapping[str, Any] = field(default_factory=dict)
    """Description of how the samples encode the original data, from `Dataset.encoding`. Empty for generated samples."""

    @property
    def labels(self) -> Tensor | None:
        """Class labels, (N,) int64. None if there is no condition, or if the condition is not a class."""
        is_class = self.described is None or isinstance(self.described, ClassCondition)
        return self.condition if is_class else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the labels. Empty if the condition is not a class, or has no description."""
        return () if self.described is None else self.described.class_names

    def digest(self) -> str:
        """Return the SHA-256 hash of the images and their condition, in hexadecimal."""
        digest = hashlib.sha256(str((self.images.shape, self.images.dtype)).encode())
        for tensor in (self.images, self.condition):
            if tensor is not None:
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class Comparison:
    """Input of the metrics: real images, generated images, and their features.

    A value that several metrics need, such as the features, is computed only once.

    Args:
        real: real images.
        fake: generated images.
        extractor: feature extractor of the recipe, or None.
        facts: information about how the metrics are computed, such as the seed. The facts of the extractor are added.
        real_features: features of the real images, if they are already computed.
        dataset_features: function that returns the features of all images of the dataset. None if `real` already
            contains all images of the dataset.
        networks: networks of the run by name. Empty outside of a run.

    Raises:
        InputError: there are fewer than 2 real images, or fewer than 2 generated images.
    """

    def __init__(
        self,
        real: Samples,
        fake: Samples,
        extractor: Extractor | None,
        facts: MetricProtocol,
        real_features: Features | None = None,
        dataset_features: Callable[[], Features] | None = None,
        networks: Mapping[str, nn.Module] = MappingProxyType({}),
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
        self.networks = networks
        """Networks of the run by name, such as `discriminator`, in evaluation mode. Metrics must not change them.

        Empty for `gankit eval`, because generator files contain only G.
        """

        self._cache: dict[Hashable, Any] = {}

    @property
    def extractor(self) -> Extractor:
        """Feature extractor of the recipe. Raises InputError if the recipe has no extractor."""
        if self._extractor is None:
            raise InputError("this metric needs features; choose an extractor: extractor.use = NAME")
        return self._extractor

    @cached_property
    def real_features(self) -> Features:
        """Features of the real images, computed by the recipe's extractor unless they are already given."""
        return self.extractor(self.real.images)

    @cached_property
    def fake_features(self) -> Features:
        """Features of the generated images, computed by the recipe's extractor at the first use."""
        return self.extractor(self.fake.images)

    @cached_property
    def real_logits(self) -> Tensor | None:
        """Logits (N, K) of the real images for the extractor's K classes. None if the extractor has no classes."""
        return self.extractor.logits_of(self.real.images, self.real_features)

    @cached_property
    def fake_logits(self) -> Tensor | None:
        """Logits (N, K) of the generated images for the extractor's K classes. None if the extractor has no classes."""
        return self.extractor.logits_of(self.fake.images, self.fake_features)

    @property
    def real_is_whole_dataset(self) -> bool:
        """True if the real images of this comparison are all images of the dataset, not a subset."""
        return self._dataset_features is None

    @cached_property
    def dataset_features(self) -> Features:
        """Features of all images of the dataset. The real images of this comparison may be a subset of the dataset."""
        return self.real_features if self._dataset_features is None else self._dataset_features()

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of `compute()`, which is called only once for each key.

        Several metrics can use the same key to share a slow computation, such as the distances between features.
        """
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]
