"""Feature extractors: functions from images to features, on which metrics are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit.errors import GankitError, InputError

T = TypeVar("T")

CHUNK = 256
"""Number of images in one call of an extractor's function."""

MetricProtocol = Mapping[str, str | int | float]
"""Facts about how metrics were computed, by name. Metrics are comparable only if their protocols are equal."""


class Features(NamedTuple):
    """Output of an extractor for N images."""

    values: Tensor
    """(N, F) float32 on the CPU."""

    logits: Tensor | None = None
    """(N, K), logits of the extractor's own classes. None if it has no classes."""


@dataclass(frozen=True)
class Extractor:
    """Feature extractor."""

    facts: MetricProtocol
    """Facts that are logged with every metric: the extractor's name with a hash of its weights, and the resizing."""

    function: Callable[[Tensor], Features]
    """Function of images (B, C, R, R): uint8, or floating point in [-1, 1] if the data are not images."""

    class_names: tuple[str, ...] = ()
    """Names of the classes of the logits, if they are classes of the dataset."""

    logits: Callable[[Tensor], Tensor] | None = None
    """Function of images that returns logits (B, K), if `function` does not. Called only when logits are needed."""

    @property
    def name(self) -> str:
        """Name in messages."""
        return str(self.facts.get("extractor", "extractor"))

    def __call__(self, images: Tensor) -> Features:
        """Return the features of all images.

        Raises:
            InputError: the function fails on such images, or does not return features.
            GankitError: a feature is NaN or infinite.
        """
        parts = [self._features(chunk) for chunk in images.split(CHUNK)]
        values = torch.cat([self._checked(part.values, "features", "F") for part in parts])
        logits = [self._checked(part.logits, "logits", "K") for part in parts if part.logits is not None]
        if not values.isfinite().all():
            count = int((~values.isfinite()).any(1).sum())
            raise GankitError(f"{self.name}: features of {count} of {len(values)} images are NaN or infinite")
        return Features(values, self._without_nan(torch.cat(logits)) if logits else None)

    def logits_of(self, images: Tensor, features: Features) -> Tensor | None:
        """Return logits (N, K): those of `features`, or from a separate pass. None if the extractor has no classes."""
        if features.logits is not None or self.logits is None:
            return features.logits
        chunks = [self._checked(self._apply(self.logits, c), "logits", "K") for c in images.split(CHUNK)]
        return self._without_nan(torch.cat(chunks))

    def _features(self, images: Tensor) -> Features:
        output: Any = self._apply(self.function, images)
        if not isinstance(output, Features):
            raise InputError(f"{self.name} returns a {type(output).__name__}; it must return gankit.Features")
        return output

    def _apply(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        try:
            return function(images)
        except GankitError:
            raise
        except Exception as error:  # a user's network may raise errors of any type
            shape = "x".join(map(str, images.shape[1:]))
            raise InputError(f"{self.name} does not accept images of shape {shape}: {_reason(error)}") from error

    def _checked(self, output: Any, name: str, width: str) -> Tensor:
        """Return the output on the CPU, after a check that it has one row for each image."""
        if not isinstance(output, Tensor) or output.dim() != 2:
            what = f"of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"as {type(output).__name__}"
            raise InputError(f"{self.name} returns {name} {what}; it must return a tensor (images, {width})")
        return output.float().cpu()

    def _without_nan(self, logits: Tensor) -> Tensor:
        # An infinite logit is a probability of 0 or 1, so only NaN is an error.
        if logits.isnan().any():
            raise GankitError(f"{self.name}: logits of {int(logits.isnan().any(1).sum())} images are NaN")
        return logits


def _reason(error: Exception) -> str:
    """Return the message of an error in one line. TorchScript puts its stack first and the cause last."""
    lines = [line.removeprefix("RuntimeError: ") for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript" in lines[0] else lines[0]


def to_rgb(images: Tensor) -> Tensor:
    """Return uint8 images (B, C, R, R) with three channels: a single grey channel is repeated.

    Raises:
        InputError: the data are points, not images.
    """
    if images.is_floating_point():
        raise InputError("extractor: it needs images, and the data are points; choose an extractor for points")
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def network_extractor(
    network: Callable[[Tensor], Any],
    device: torch.device,
    name: str,
    size: int | None = None,
    class_names: tuple[str, ...] = (),
) -> Extractor:
    """Return an extractor that uses a network.

    The network takes RGB images (B, 3, R, R) in [-1, 1]. It returns features (B, F, ...), or a pair of features and
    logits (B, K).

    Args:
        network: the network, in evaluation mode, on the device.
        device: device of the network.
        name: name for the protocol, with a hash of the weights.
        size: size in pixels to which images are resized, bilinearly with antialiasing. None: they are not resized.
        class_names: classes of the dataset, if the logits belong to them. A single output is then used as both.
    """

    def extract(images: Tensor) -> Features:
        inputs = to_rgb(images.to(device)).float() / 127.5 - 1
        if size is not None and inputs.shape[-1] != size:
            inputs = interpolate(inputs, size, mode="bilinear", antialias=True)
        with torch.no_grad():
            output = network(inputs)
        values, logits = output if isinstance(output, tuple) and len(output) == 2 else (output, None)
        if not isinstance(values, Tensor):
            raise InputError(
                f"{name} returns a {type(output).__name__}; it must return features, or features and logits"
            )
        if not class_names:
            return Features(values.flatten(1), logits)
        class_logits = values if logits is None else logits
        K = len(class_names)
        if class_logits.shape[1:] != (K,):
            raise InputError(
                f"{name} returns logits of shape {tuple(class_logits.shape)}, and the dataset has {K} classes"
            )
        return Features(values.flatten(1), class_logits)

    return Extractor({"extractor": name, "resize": f"bilinear to {size}" if size else "none"}, extract, class_names)
